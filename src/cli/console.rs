//! `quorate console`: this terminal becomes the guest's.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::admin::{SocketArgs, seconds};
use super::{Exit, Failure, print};
use crate::admin::Input;
use crate::config::Config;

/// Ctrl-]: what telnet and virsh use; guests hardly ever need it.
const ESCAPE: u8 = 0x1d;

/// Arguments of `console`.
#[derive(Debug, Args)]
pub(super) struct ConsoleArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// How long to go on reading after the end of the input, when that is no terminal
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2")]
    timeout: Duration,
}

pub(super) fn console(
    arguments: &ConsoleArgs,
    config: impl FnOnce() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(&error, format!("console: {error}"), "connect again");
    let mut stream = arguments.socket.connect(config)?.console()?;
    let input = stream.input().map_err(failed)?;
    let terminal = io::stdin().is_terminal();
    let _raw = terminal.then(RawTerminal::enter).transpose().map_err(failed)?;
    if terminal {
        let _ = write!(io::stderr(), "connected; Ctrl-] leaves\r\n");
    }
    let left = Arc::new(AtomicBool::new(false));
    let timeout = arguments.timeout;
    std::thread::spawn({
        let left = Arc::clone(&left);
        move || {
            let input = type_in(input, terminal);
            if !terminal {
                std::thread::sleep(timeout);
            }
            left.store(true, Ordering::Release);
            input.close();
        }
    });
    let mut bytes = vec![0; 16 << 10];
    loop {
        // After "leave" a reset connection is as good as a closed one.
        let length = match stream.read(&mut bytes) {
            Err(_) if left.load(Ordering::Acquire) => 0,
            length => length.map_err(failed)?,
        };
        if length == 0 {
            break;
        }
        print(&bytes[..length])?;
    }
    if left.load(Ordering::Acquire) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Temporary,
        "console: the node closed the connection",
        "connect to another node",
    ))
}

/// Sends what is typed until the input ends, Ctrl-] is typed at a terminal, or the node is gone.
fn type_in(mut input: Input, terminal: bool) -> Input {
    let mut bytes = [0; 1024];
    loop {
        let length = match io::stdin().read(&mut bytes) {
            Ok(0) | Err(_) => return input,
            Ok(length) => length,
        };
        let typed = &bytes[..length];
        let escape = typed.iter().position(|byte| terminal && *byte == ESCAPE);
        if input.write_all(&typed[..escape.unwrap_or(length)]).is_err() || escape.is_some() {
            return input;
        }
    }
}

/// The terminal without echo, line editing and signals, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> io::Result<RawTerminal> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Guests that end a line with LF alone would make a staircase.
        raw.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
        let _ = write!(io::stderr(), "\r\n");
    }
}
