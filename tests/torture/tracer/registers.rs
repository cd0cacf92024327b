//! The registers of a thread that is stopped at a system call, on x86_64 and aarch64.

use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// A copy of a stopped thread's registers.
#[derive(Clone, Copy)]
pub struct Registers(user_regs_struct);

/// Whether the thread stands before a call. Counting stops would be wrong for new threads.
pub fn is_entry(pid: Pid) -> nix::Result<bool> {
    const ENTRY: u8 = 1; // PTRACE_SYSCALL_INFO_ENTRY
    Ok(ptrace::syscall_info(pid)?.op == ENTRY)
}

impl Registers {
    pub fn of(pid: Pid) -> nix::Result<Self> {
        ptrace::getregs(pid).map(Self)
    }

    pub fn set(self, pid: Pid) -> nix::Result<()> {
        ptrace::setregs(pid, self.0)
    }
}

#[cfg(target_arch = "x86_64")]
impl Registers {
    pub fn number(&self) -> i64 {
        self.0.orig_rax.cast_signed()
    }

    pub fn arguments(&self) -> [u64; 6] {
        [self.0.rdi, self.0.rsi, self.0.rdx, self.0.r10, self.0.r8, self.0.r9]
    }

    pub fn result(&self) -> i64 {
        self.0.rax.cast_signed()
    }

    /// Before a call: the kernel carries out none.
    pub fn without_call(mut self) -> Self {
        self.0.orig_rax = u64::MAX;
        self
    }

    /// After a call that was `before`: as if the kernel had returned `result`.
    pub fn returning(mut self, result: i64, before: &Self) -> Self {
        self.0.rax = result.cast_unsigned();
        self.0.orig_rax = before.0.orig_rax;
        self
    }

    pub fn with_second_argument(mut self, value: u64) -> Self {
        self.0.rsi = value;
        self
    }
}

#[cfg(target_arch = "aarch64")]
impl Registers {
    pub fn number(&self) -> i64 {
        self.0.regs[8].cast_signed()
    }

    pub fn arguments(&self) -> [u64; 6] {
        [0, 1, 2, 3, 4, 5].map(|n| self.0.regs[n])
    }

    pub fn result(&self) -> i64 {
        self.0.regs[0].cast_signed()
    }

    /// Before a call: the kernel refuses it. The call's number is in a register set that `nix` does not
    /// offer, but no call that changes something works on descriptor -1 or on a path at address -1.
    pub fn without_call(mut self) -> Self {
        self.0.regs[..6].fill(u64::MAX);
        self
    }

    /// After a call that was `before`: as if the kernel had returned `result`.
    pub fn returning(mut self, result: i64, before: &Self) -> Self {
        self.0.regs[1..6].copy_from_slice(&before.0.regs[1..6]);
        self.0.regs[0] = result.cast_unsigned();
        self
    }

    pub fn with_second_argument(mut self, value: u64) -> Self {
        self.0.regs[1] = value;
        self
    }
}
