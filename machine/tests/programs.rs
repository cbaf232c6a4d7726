//! Test programs in the machine: quirks of the core, faults, reset, lockup, time.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod support;

use machine::cortexm::Lockup;
use machine::{Activity, AgreedTime, Entry, Grant, Input, Machine, Ticks};
use support::{printed, program, run, type_in};

const MS: u64 = 1_000_000;

/// A machine that runs `probe` and waits for commands.
fn probe() -> Option<Machine> {
    let mut machine = Machine::new(&program("probe")?).unwrap();
    assert_eq!(printed(&run(&mut machine, MS)), "up\n");
    Some(machine)
}

#[test]
fn quirks_of_the_core() {
    let Some(definition) = program("quirks") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    let text = printed(&run(&mut machine, 10 * MS));
    let expected = "systick=00000005\npendsv=00000001\nmasked=00000000\nunmasked=00000001\n\
        svc-ipsr=0000000b\nsvc-control=00000000\nsvc-psp=000001c0\nsvc-lr=fffffffd\nsvc-stack=00000000\nhints=ok\n\
        unaligned=00000001\nunaligned-pc=00000000\nundefined=00000001\nbreakpoint=00000001\nmasked-svc=00000001\ndone\n";
    assert_eq!(text, expected);
    assert_eq!(machine.activity(), Activity::Idle { next_timer: None });
    assert_eq!(machine.hard_faults(), 4);
}

#[test]
fn faults_are_hard_faults_at_the_instruction() {
    let Some(mut machine) = probe() else { return };
    for (command, answer) in [
        ("u", "load 00000001 00000000\n"),
        ("w", "store 00000001 00000000\n"),
        ("f", "flash 00000001 00000000\n"),
        ("z", "unimplemented 00000000 "),
    ] {
        let text = type_in(&mut machine, command, MS);
        assert!(text.starts_with(answer), "{command}: {text}");
    }
    assert_eq!(machine.counters().bus_faults, 3);
    for command in ["j", "e"] {
        let text = type_in(&mut machine, command, MS);
        assert!(text.contains(" 00000001 "), "{command}: {text}");
    }
    assert_eq!(machine.hard_faults(), 5);
}

#[test]
fn reset_by_the_guest_keeps_memory_and_time() {
    let Some(mut machine) = probe() else { return };
    assert_eq!(type_in(&mut machine, "c", MS), "boots=00000001\n");
    assert_eq!(type_in(&mut machine, "a", MS), "no key, no reset\n");
    let time = machine.time();
    assert_eq!(type_in(&mut machine, "r", MS), "up\n");
    assert_eq!(machine.time(), AgreedTime(time.0 + MS));
    assert_eq!(type_in(&mut machine, "c", MS), "boots=00000002\n");
    assert_eq!(machine.counters().resets, 1);
}

#[test]
fn lockup_stops_until_a_reset() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "l", MS);
    assert_eq!(
        (machine.activity(), machine.lockup()),
        (Activity::Stopped, Some(Lockup::Stacking))
    );
    let stopped = run(&mut machine, MS);
    assert_eq!((stopped.executed, stopped.activity), (Ticks(0), Activity::Stopped));
    let grant = support::grant(&machine, MS);
    let outputs = machine.apply(&Entry {
        inputs: vec![Input::Reset],
        grant,
    });
    assert_eq!(printed(&outputs), "up\n");
    assert_eq!(type_in(&mut machine, "c", MS), "boots=00000002\n");
}

#[test]
fn a_busy_guest_uses_its_grant_and_no_more() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "b", MS);
    for ticks in [1, 2, 63, 64, 1000, 1_000_000] {
        let until = AgreedTime(machine.time().0 + MS);
        let outputs = machine.apply(&Entry {
            inputs: vec![],
            grant: Grant {
                ticks: Ticks(ticks),
                until,
            },
        });
        assert!(
            (ticks..ticks + 64).contains(&outputs.executed.0),
            "{ticks}: {:?}",
            outputs.executed
        );
        assert_eq!((outputs.activity, machine.time()), (Activity::Busy, until));
    }
}

#[test]
fn a_grant_without_ticks_only_moves_time() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "b", MS);
    let until = AgreedTime(machine.time().0 + 5 * MS);
    let outputs = machine.apply(&Entry {
        inputs: vec![],
        grant: Grant { ticks: Ticks(0), until },
    });
    assert_eq!((outputs.executed, machine.time()), (Ticks(0), until));
}

#[test]
fn time_that_stands_still_still_executes() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "b", MS);
    let now = machine.time();
    for until in [now, AgreedTime(0)] {
        let outputs = machine.apply(&Entry {
            inputs: vec![],
            grant: Grant {
                ticks: Ticks(1000),
                until,
            },
        });
        assert!(outputs.executed >= Ticks(1000));
        assert_eq!(machine.time(), now);
    }
}

#[test]
fn waiting_ends_an_entry_in_which_time_stands_still() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "t", MS / 2);
    let until = machine.time();
    let outputs = machine.apply(&Entry {
        inputs: vec![],
        grant: Grant {
            ticks: Ticks(1_000_000),
            until,
        },
    });
    assert_eq!(outputs.executed, Ticks(0));
    assert!(matches!(outputs.activity, Activity::Idle { next_timer: Some(timer) } if timer > until));
}

#[test]
fn the_tick_wakes_a_waiting_guest_each_millisecond() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "t", MS / 2);
    let Activity::Idle {
        next_timer: Some(first),
    } = machine.activity()
    else {
        panic!("{:?}", machine.activity())
    };
    let until_just_before = first.0 - machine.time().0 - 1;
    let before = run(&mut machine, until_just_before);
    assert_eq!(before.executed, Ticks(0));
    let one = run(&mut machine, 500);
    assert!(one.executed > Ticks(0), "the handler ran");
    assert_eq!(
        one.activity,
        Activity::Idle {
            next_timer: Some(AgreedTime(first.0 + MS))
        }
    );
    let many = run(&mut machine, 50 * MS);
    assert_eq!(many.executed.0, 50 * one.executed.0);
}

#[test]
fn a_masked_interrupt_ends_a_wait_and_is_not_taken() {
    let Some(mut machine) = probe() else { return };
    assert_eq!(type_in(&mut machine, "m", MS / 2), "");
    assert_eq!(printed(&run(&mut machine, MS)), "masked=00000001\n");
}

#[test]
fn timers_that_became_due_without_ticks_are_taken_later() {
    let Some(mut machine) = probe() else { return };
    type_in(&mut machine, "t", MS / 2);
    let until = AgreedTime(machine.time().0 + 10 * MS);
    let outputs = machine.apply(&Entry {
        inputs: vec![],
        grant: Grant { ticks: Ticks(0), until },
    });
    assert_eq!(
        (outputs.executed, outputs.activity),
        (Ticks(0), Activity::Busy),
        "the tick waits to be handled"
    );
    assert!(run(&mut machine, 1000).executed > Ticks(0));
}

#[test]
fn inputs_nobody_takes_are_counted() {
    let Some(mut machine) = probe() else { return };
    let inputs = vec![
        Input::Serial {
            port: 7,
            bytes: vec![1],
        },
        Input::Frame {
            nic: 0,
            bytes: vec![0; 13],
        },
        Input::Frame {
            nic: 0,
            bytes: vec![0; 1519],
        },
        Input::Frame {
            nic: 9,
            bytes: vec![0; 60],
        },
    ];
    machine.apply(&Entry {
        inputs,
        grant: Grant::default(),
    });
    assert_eq!(machine.counters().inputs_dropped, 4);
}

#[test]
fn a_trace_sees_every_access() {
    let Some(definition) = program("probe") else { return };
    let mut machine = Machine::new(&definition).unwrap();
    let (sender, accesses) = std::sync::mpsc::channel();
    machine.set_trace(Some(Box::new(move |access| sender.send(*access).unwrap())));
    run(&mut machine, MS);
    machine.set_trace(None);
    let accesses: Vec<_> = accesses.iter().collect();
    let written: Vec<u32> = accesses
        .iter()
        .filter(|access| access.resource == "uart0" && access.offset == 0)
        .map(|access| access.data)
        .collect();
    assert_eq!(written, b"up\n".map(u32::from));
    assert!(
        accesses
            .iter()
            .any(|access| access.resource == "scs" && access.offset == 0x100)
    );
    assert!(accesses.is_sorted_by_key(|access| access.at));
}
