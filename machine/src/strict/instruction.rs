//! What instructions there are, and which of them end a block.

pub use super::arithmetic::Shift;

/// Number of the stack pointer.
pub const SP: u8 = 13;
/// Number of the link register.
pub const LR: u8 = 14;
/// Number of the program counter.
pub const PC: u8 = 15;

/// The second operand of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The register of this number.
    Register(u8),
    /// This value.
    Immediate(u32),
}

/// A sum or difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Left plus right.
    Add,
    /// Left plus right plus carry.
    AddCarry,
    /// Left minus right.
    Subtract,
    /// Left minus right minus borrow.
    SubtractCarry,
    /// Zero minus left.
    Negate,
}

/// An operation on bits, or a product: of the flags it sets N and Z only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    /// Both.
    And,
    /// One of them.
    ExclusiveOr,
    /// Any.
    Or,
    /// Left without right.
    BitClear,
    /// Right.
    Move,
    /// All that right has not.
    MoveNot,
    /// Left times right.
    Multiply,
}

/// What is made of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// SXTH.
    SignHalf,
    /// SXTB.
    SignByte,
    /// UXTH.
    ZeroHalf,
    /// UXTB.
    ZeroByte,
    /// REV: the bytes of the word.
    ReverseWord,
    /// REV16: the bytes of each half.
    ReverseHalves,
    /// REVSH: the bytes of the low half, sign-extended.
    ReverseSignHalf,
}

/// An instruction, with register numbers of 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Shifts `from` and sets N, Z, C.
    Shift {
        /// How.
        kind: Shift,
        /// Target.
        to: u8,
        /// Source.
        from: u8,
        /// By how much: the low byte of a register.
        amount: Operand,
    },
    /// Adds or subtracts.
    Sum {
        /// Which.
        sum: Sum,
        /// Target; `None` for comparisons.
        to: Option<u8>,
        /// First operand.
        left: u8,
        /// Second operand.
        right: Operand,
        /// Sets N, Z, C, V.
        flags: bool,
    },
    /// Combines bits, or multiplies.
    Logic {
        /// How.
        logic: Logic,
        /// Target; `None` for a test.
        to: Option<u8>,
        /// First operand.
        left: u8,
        /// Second operand.
        right: Operand,
        /// Sets N and Z.
        flags: bool,
    },
    /// Extends or reverses.
    Convert {
        /// How.
        conversion: Conversion,
        /// Target.
        to: u8,
        /// Source.
        from: u8,
    },
    /// ADR.
    Address {
        /// Target.
        to: u8,
        /// Bytes from the aligned program counter.
        offset: u32,
    },
    /// LDR from the aligned program counter.
    LoadLiteral {
        /// Target.
        to: u8,
        /// Bytes.
        offset: u32,
    },
    /// LDR, LDRH, LDRB, LDRSH, LDRSB.
    Load {
        /// Target.
        to: u8,
        /// Base of the address.
        base: u8,
        /// Offset.
        offset: Operand,
        /// Bytes: 1, 2, 4.
        size: u8,
        /// Sign-extended.
        signed: bool,
    },
    /// STR, STRH, STRB.
    Store {
        /// Source.
        from: u8,
        /// Base of the address.
        base: u8,
        /// Offset.
        offset: Operand,
        /// Bytes: 1, 2, 4.
        size: u8,
    },
    /// LDM, POP.
    LoadMany {
        /// First address; the register goes up, unless it is in the list.
        base: u8,
        /// Bit n: register n.
        list: u16,
    },
    /// STM.
    StoreMany {
        /// First address; the register goes up.
        base: u8,
        /// Bit n: register n.
        list: u16,
    },
    /// PUSH.
    Push {
        /// Bit n: register n.
        list: u16,
    },
    /// B.
    Branch {
        /// Condition code 0 to 13; `None`: always.
        condition: Option<u8>,
        /// Bytes from the program counter.
        offset: u32,
    },
    /// BL.
    BranchLink {
        /// Bytes from the program counter.
        offset: u32,
    },
    /// BX.
    BranchExchange {
        /// Register with the target.
        to: u8,
    },
    /// BLX.
    BranchLinkExchange {
        /// Register with the target.
        to: u8,
    },
    /// SVC.
    SupervisorCall,
    /// NOP, SEV, DMB, DSB.
    Nothing,
    /// YIELD, WFE, ISB: nothing either, but a block ends.
    EndOfBlock,
    /// WFI.
    WaitForInterrupt,
    /// CPSIE, CPSID: PRIMASK becomes this; `None`: neither I nor F nor anything else that is there is named.
    ChangeMask(Option<bool>),
    /// MSR.
    WriteSpecial {
        /// Number of the special register.
        special: u8,
        /// Source.
        from: u8,
        /// The flags are written, if they are what is addressed.
        flags: bool,
    },
    /// MRS.
    ReadSpecial {
        /// Number of the special register.
        special: u8,
        /// Target.
        to: u8,
    },
    /// UDF, BKPT, and all that is not an instruction of ARMv6-M.
    Undefined,
}

impl Instruction {
    /// Nothing after it is in the same block: it may continue elsewhere, or what holds back exceptions may change.
    #[must_use]
    pub fn ends_block(self) -> bool {
        use Instruction as I;
        match self {
            I::Branch { .. } | I::BranchLink { .. } | I::BranchExchange { .. } | I::BranchLinkExchange { .. } => true,
            I::SupervisorCall | I::EndOfBlock | I::WaitForInterrupt | I::Undefined => true,
            I::ChangeMask(_) | I::WriteSpecial { .. } => true,
            I::Sum { to, .. } | I::Logic { to, .. } => to == Some(PC),
            I::ReadSpecial { to, .. } => to == PC,
            I::LoadMany { list, .. } => list >> PC != 0,
            _ => false,
        }
    }
}
