//! A debugger on a rebuilt guest: gdb's remote protocol on a port of this host's loopback.
//!
//! gdb sees the guest as the log made it, and nothing else can happen to it: what gdb would write is refused, running goes
//! on along the log's entries, and ends where the log does. A fork is for whoever wants to change something.
//!
//! A step is a piece: straight-line code up to the next branch, at most 64 instructions (see [`machine::Pieces`]; anything
//! finer would be another history). So a breakpoint inside of a piece stops in front of the piece, where that can be told
//! from the code, or else after it.
//!
//! - `copy`: the guest that is debugged, and its ways through the log; `back`: the ways back;
//! - `layout`: which registers gdb is told of;
//! - `code`: how far straight-line code goes;
//! - `target`: what the protocol's library asks for; `monitor`: commands of ours.

mod back;
mod code;
mod copy;
mod layout;
mod monitor;
mod target;

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use gdbstub::conn::ConnectionExt;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{DisconnectReason, GdbStub, SingleThreadStopReason};

pub use copy::{Copy, Halt};
use target::Debugged;

use super::ReplayError;

/// Pieces, or entries, between two looks whether gdb wants something.
const PIECES_AT_ONCE: usize = 10_000;

/// A port that waits for gdb.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// gdb detached, quit, or went away.
    Left,
    /// gdb said `kill`.
    Killed,
}

impl Server {
    /// Waits on `port` of the loopback address; 0: any that is free.
    ///
    /// # Errors
    /// The port is taken or not permitted.
    pub fn bind(port: u16) -> Result<Server, ReplayError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = listener.map_err(ReplayError::io(format!("wait for gdb on port {port}")))?;
        Ok(Server { listener })
    }

    /// The port.
    ///
    /// # Errors
    /// The system does not know.
    pub fn port(&self) -> Result<u16, ReplayError> {
        let address = self.listener.local_addr();
        Ok(address.map_err(ReplayError::io("the debugger's port"))?.port())
    }

    /// Serves one gdb, until it leaves.
    ///
    /// # Errors
    /// Those of the log; a client that does not speak the protocol.
    pub fn serve(self, copy: Copy<'_>) -> Result<Ended, ReplayError> {
        let failed = || ReplayError::io("the debugger's connection");
        let (connection, _) = self.listener.accept().map_err(failed())?;
        drop(self.listener); // one guest, one debugger
        connection.set_nodelay(true).map_err(failed())?;
        let mut debugged = Debugged::new(copy);
        match GdbStub::new(connection).run_blocking::<Loop<'_>>(&mut debugged) {
            Ok(DisconnectReason::Kill) => Ok(Ended::Killed),
            Ok(_) => Ok(Ended::Left),
            Err(error) if error.is_connection_error() => Ok(Ended::Left),
            Err(error) if error.is_target_error() => {
                Err(error.into_target_error().expect("it was asked for the line before"))
            }
            Err(error) => Err(failed()(std::io::Error::other(error.to_string()))),
        }
    }
}

struct Loop<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> BlockingEventLoop for Loop<'a> {
    type Target = Debugged<'a>;
    type Connection = TcpStream;
    type StopReason = SingleThreadStopReason<u64>;

    fn wait_for_stop_reason(
        target: &mut Debugged<'a>,
        connection: &mut TcpStream,
    ) -> Result<Event<SingleThreadStopReason<u64>>, WaitForStopReasonError<ReplayError, std::io::Error>> {
        loop {
            let halt = target.run(PIECES_AT_ONCE).map_err(WaitForStopReasonError::Target)?;
            if let Some(reason) = halt {
                return Ok(Event::TargetStopped(reason));
            }
            let waiting = ConnectionExt::peek(connection).map_err(WaitForStopReasonError::Connection)?;
            if waiting.is_some() {
                let byte = ConnectionExt::read(connection).map_err(WaitForStopReasonError::Connection)?;
                return Ok(Event::IncomingData(byte));
            }
        }
    }

    fn on_interrupt(_: &mut Debugged<'a>) -> Result<Option<SingleThreadStopReason<u64>>, ReplayError> {
        Ok(Some(SingleThreadStopReason::Signal(gdbstub::common::Signal::SIGINT)))
    }
}
