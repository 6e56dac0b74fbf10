//! The binary as run by somebody without rights.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    sync::LazyLock,
};

use nix::unistd::geteuid;

/// `nobody`, in Debian and most others.
const NOBODY: u32 = 65534;

/// Open, because the folder that the binary is in may not be open to everybody.
static BINARY: LazyLock<File> = LazyLock::new(|| File::open(env!("CARGO_BIN_EXE_p2ptun")).unwrap());

/// The binary, by another user than root.
pub fn binary() -> Command {
    if !geteuid().is_root() {
        return Command::new(env!("CARGO_BIN_EXE_p2ptun"));
    }
    let mut command = Command::new(format!("/proc/self/fd/{}", BINARY.as_raw_fd()));
    // Groups that root is in go as well.
    command.uid(NOBODY).gid(NOBODY);
    command
}
