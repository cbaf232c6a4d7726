//! What the protocol's library asks for.

use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::reverse_exec::{
    ReplayLogPosition, ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::back::Back;
use super::layout::{Board, Layout, Values};
use super::{Copy, Halt, monitor};
use crate::replay::ReplayError;

/// The copy, as gdb sees it.
pub(super) struct Debugged<'a> {
    copy: Copy<'a>,
    layout: Layout,
    xml: String,
    /// What gdb wants of it now.
    way: Way,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// On, to a breakpoint.
    On,
    /// One piece on.
    Step,
    /// Back.
    Back(Back),
}

impl<'a> Debugged<'a> {
    pub(super) fn new(copy: Copy<'a>) -> Debugged<'a> {
        let layout = Layout::new(&copy.machine().registers());
        Debugged {
            copy,
            xml: layout.xml(),
            layout,
            way: Way::On,
        }
    }

    /// Runs on, a while at most; says why it stopped, if it did.
    pub(super) fn run(&mut self, budget: usize) -> Result<Option<SingleThreadStopReason<u64>>, ReplayError> {
        let halt = match self.way {
            Way::Step => self.copy.step(budget)?,
            Way::On => self.copy.run(budget)?,
            Way::Back(how) => Some(self.copy.back(how)?),
        };
        let end = |pos| SingleThreadStopReason::ReplayLog { tid: None, pos };
        Ok(halt.map(|halt| match halt {
            Halt::Stepped => SingleThreadStopReason::DoneStep,
            Halt::Breakpoint => SingleThreadStopReason::SwBreak(()),
            Halt::NearBreakpoint => SingleThreadStopReason::Signal(Signal::SIGTRAP),
            Halt::EndOfLog => end(ReplayLogPosition::End),
            Halt::BeginningOfLog => end(ReplayLogPosition::Begin),
        }))
    }
}

impl Target for Debugged<'_> {
    type Arch = Board;
    type Error = ReplayError;

    fn base_ops(&mut self) -> BaseOps<'_, Board, ReplayError> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debugged<'_> {
    fn read_registers(&mut self, values: &mut Values) -> TargetResult<(), Self> {
        let registers = self.copy.machine().registers();
        values.program_counter = self.copy.machine().program_counter();
        values.bytes = self.layout.bytes(&registers);
        Ok(())
    }

    /// Refused: it would be another history.
    fn write_registers(&mut self, _: &Values) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn read_addrs(&mut self, address: u64, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        let read = self.copy.read(address, bytes.len());
        if read.is_empty() && !bytes.is_empty() {
            return Err(TargetError::NonFatal);
        }
        bytes[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    /// Refused: it would be another history.
    fn write_addrs(&mut self, _: u64, _: &[u8]) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for Debugged<'_> {
    /// A signal means nothing to a machine.
    fn resume(&mut self, _: Option<Signal>) -> Result<(), ReplayError> {
        self.way = Way::On;
        Ok(())
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, (), Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, (), Self>> {
        Some(self)
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debugged<'_> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), ReplayError> {
        self.way = Way::Step;
        Ok(())
    }
}

impl ReverseCont<()> for Debugged<'_> {
    fn reverse_cont(&mut self) -> Result<(), ReplayError> {
        self.way = Way::Back(Back::Breakpoint);
        Ok(())
    }
}

impl ReverseStep<()> for Debugged<'_> {
    fn reverse_step(&mut self, (): ()) -> Result<(), ReplayError> {
        self.way = Way::Back(Back::Step);
        Ok(())
    }
}

impl Breakpoints for Debugged<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debugged<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        self.copy.set_breakpoint(address);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.copy.remove_breakpoint(address))
    }
}

/// The same: no memory is written for either.
impl HwBreakpoint for Debugged<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(address, kind)
    }

    fn remove_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(address, kind)
    }
}

impl MonitorCmd for Debugged<'_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), ReplayError> {
        let answer = monitor::answer(&mut self.copy, &String::from_utf8_lossy(command))?;
        out.write_raw(answer.as_bytes());
        Ok(())
    }
}

impl TargetDescriptionXmlOverride for Debugged<'_> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.xml.len());
        let rest = &self.xml.as_bytes()[start..];
        let piece = &rest[..rest.len().min(length).min(buffer.len())];
        buffer[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}
