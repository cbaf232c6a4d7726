//! The firmware that the guest calls by HVC or SMC: PSCI 1.1 (ARM DEN 0022) and as much of the calling convention (SMCCC
//! 1.1, ARM DEN 0028) as says that there is no more.

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// X0 gets this value, and the guest goes on.
    Value(i64),
    /// The same, once an interrupt is pending.
    Wait,
    /// The machine is switched off, or its only CPU.
    Off,
    /// The board is reset.
    Reset,
}

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
/// AFFINITY_INFO: the CPU is on.
const ON: i64 = 0;
/// MIGRATE_INFO_TYPE: there is no trusted OS that would have to migrate.
const NO_MIGRATION: i64 = 2;
/// Versions 1.1 of both.
const VERSION: i64 = 0x1_0001;

/// Functions with arguments of 64 bits have this bit; ours mean the same in both forms.
const SMC64: u32 = 1 << 30;
const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
const PSCI_VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND: u32 = 0x8400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const PSCI_FEATURES: u32 = 0x8400_000a;

/// Affinity bits of MPIDR: ours is CPU 0.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Answers the call with function `x0` and arguments `x1` and on.
pub fn call(x0: u64, x1: u64) -> Answer {
    let function = x0 as u32;
    let has_both_forms = [CPU_SUSPEND, CPU_ON, AFFINITY_INFO].contains(&(function & !SMC64));
    match if has_both_forms { function & !SMC64 } else { function } {
        SMCCC_VERSION | PSCI_VERSION => Answer::Value(VERSION),
        SMCCC_ARCH_FEATURES => Answer::Value(match x1 as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
            _ => NOT_SUPPORTED,
        }),
        PSCI_FEATURES => Answer::Value(features(x1 as u32)),
        MIGRATE_INFO_TYPE => Answer::Value(NO_MIGRATION),
        CPU_ON if x1 & AFFINITY == 0 => Answer::Value(ALREADY_ON),
        AFFINITY_INFO if x1 & AFFINITY == 0 => Answer::Value(ON),
        CPU_ON | AFFINITY_INFO => Answer::Value(INVALID_PARAMETERS),
        // Any power state is entered as standby, which 5.4.1 allows: the call returns.
        CPU_SUSPEND => Answer::Wait,
        CPU_OFF | SYSTEM_OFF => Answer::Off,
        SYSTEM_RESET => Answer::Reset,
        _ => Answer::Value(NOT_SUPPORTED),
    }
}

fn features(function: u32) -> i64 {
    match function {
        SMCCC_VERSION | PSCI_VERSION | PSCI_FEATURES | MIGRATE_INFO_TYPE | CPU_OFF | SYSTEM_OFF | SYSTEM_RESET => {
            SUCCESS
        }
        _ if [CPU_SUSPEND, CPU_ON, AFFINITY_INFO].contains(&(function & !SMC64)) => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_one_cpu_is_on_and_there_is_no_other() {
        assert_eq!(call(0x8400_0003, 0), Answer::Value(ALREADY_ON));
        assert_eq!(
            call(0xc400_0003, 0x8000_0000),
            Answer::Value(ALREADY_ON),
            "MPIDR's own bit 31"
        );
        assert_eq!(call(0xc400_0003, 1), Answer::Value(INVALID_PARAMETERS));
        assert_eq!(call(0xc400_0004, 0), Answer::Value(ON));
        assert_eq!(call(0xc400_0004, 1 << 32), Answer::Value(INVALID_PARAMETERS));
    }

    #[test]
    fn what_is_announced_is_there() {
        for function in (0x8400_0000..0x8400_0040).chain(0xc400_0000..0xc400_0040) {
            let announced = call(0x8400_000a, function) == Answer::Value(SUCCESS);
            let argument = if function == 0x8400_000a { 0x8400_0000 } else { 0 };
            assert_eq!(
                announced,
                call(function, argument) != Answer::Value(NOT_SUPPORTED),
                "{function:#x}"
            );
        }
        assert_eq!(call(0x8400_0000, 0), Answer::Value(0x1_0001));
        assert_eq!(call(0x8400_0008, 0), Answer::Off);
        assert_eq!(call(0x8400_0009, 0), Answer::Reset);
    }

    #[test]
    fn other_services_do_not_exist() {
        for function in [0x8000_8000, 0x8400_0050, 0x8600_0000, 0xc400_0008, u64::MAX] {
            assert_eq!(call(function, 0), Answer::Value(NOT_SUPPORTED), "{function:#x}");
        }
    }
}
