//! A TCP link that can be cut, stalled, darkened or deafened: between a gateway and its broker, a hub and its database.
//!
//! A program connects to the link's address as if it were the other side's. Bytes that a dark link has swallowed are gone,
//! as on a line whose address translation was restarted: such a connection never works again, and its ends must find out
//! by themselves. A stalled link loses nothing: what waits goes on afterwards.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Everything passes.
    Open,
    /// Connections break, and new ones are closed at once.
    Cut,
    /// Nothing passes for now; nothing is lost.
    Stalled,
    /// Everything is swallowed, and nobody is told: connections of this time stay dead.
    Dark,
    /// What the far side says is swallowed; what goes to it still arrives. Connections of this time stay deaf.
    Deaf,
}

/// A listening link; its connections break when it is dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    line: Line,
    to: String,
    ended: bool,
    wires: Vec<Arc<Wire>>,
}

/// One connection: both its sockets, and which of its directions are dead.
struct Wire {
    near: TcpStream,
    far: TcpStream,
    dead_out: AtomicBool,
    dead_in: AtomicBool,
}

impl Link {
    /// A link on a free port to `host:port`, open.
    pub fn to(to: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for a link")?;
        let address = listener.local_addr()?;
        let state = State { line: Line::Open, to: to.to_owned(), ended: false, wires: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if accepting.lock().ended {
                    return;
                }
                // A far side that is away looks as it would without a link: the connection is closed.
                let _ = accepting.connect(near);
            }
        });
        Ok(Self { address, shared })
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the link does, also to the connections that there are.
    pub fn set(&self, line: Line) {
        let mut state = self.shared.lock();
        state.line = line;
        state.wires.retain(|wire| Arc::strong_count(wire) > 1);
        for wire in &state.wires {
            wire.suffer(line);
        }
        if line == Line::Cut {
            state.wires.clear();
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.set(Line::Cut);
        self.shared.lock().ended = true;
        let _ = TcpStream::connect(self.address); // wakes the listener's thread, which then ends
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, near: TcpStream) -> std::io::Result<()> {
        let (line, to) = {
            let state = self.lock();
            (state.line, state.to.clone())
        };
        if line == Line::Cut {
            return Ok(());
        }
        let far = TcpStream::connect(to)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let wire = Wire { near, far, dead_out: AtomicBool::new(false), dead_in: AtomicBool::new(false) };
        let wire = Arc::new(wire);
        let mut state = self.lock();
        wire.suffer(state.line);
        state.wires.push(Arc::clone(&wire));
        drop(state);
        for outward in [true, false] {
            let (shared, wire) = (Arc::clone(self), Arc::clone(&wire));
            thread::spawn(move || {
                let _ = shared.carry(&wire, outward);
                wire.hang_up();
            });
        }
        Ok(())
    }

    /// Carries one direction until it ends.
    fn carry(&self, wire: &Wire, outward: bool) -> std::io::Result<()> {
        let (mut from, mut to, dead) = match outward {
            true => (&wire.near, &wire.far, &wire.dead_out),
            false => (&wire.far, &wire.near, &wire.dead_in),
        };
        let mut buffer = vec![0; 16 << 10];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let stalled = |state: &mut State| state.line == Line::Stalled && !state.ended;
            drop(self.changed.wait_while(self.lock(), stalled).unwrap_or_else(PoisonError::into_inner));
            if !dead.load(Ordering::Acquire) {
                to.write_all(&buffer[..length])?;
            }
        }
    }
}

impl Wire {
    fn suffer(&self, line: Line) {
        match line {
            Line::Open | Line::Stalled => {}
            Line::Cut => self.hang_up(),
            Line::Dark => {
                self.dead_out.store(true, Ordering::Release);
                self.dead_in.store(true, Ordering::Release);
            }
            Line::Deaf => self.dead_in.store(true, Ordering::Release),
        }
    }

    fn hang_up(&self) {
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.far.shutdown(Shutdown::Both);
    }
}

/// A port that is free and that no outgoing connection is given: for programs that must come back on the same one.
pub fn steady_port() -> Result<u16> {
    let first = u64::from(std::process::id()).wrapping_mul(0x9E37_79B9) + offset();
    let ports = (0..4000).map(|n| 20_000 + ((first + 7 * n) % 10_000) as u16);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().context("no port between 20000 and 30000 is free")
}

/// Another one at each call, so that two calls in a row never give the same port.
fn offset() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) * 97
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn echo() -> (Link, TcpListener) {
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        (Link::to(&far.local_addr().unwrap().to_string()).unwrap(), far)
    }

    fn pair(link: &Link, far: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(link.address()).unwrap();
        near.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (far, _) = far.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        (near, far)
    }

    #[test]
    fn a_stalled_link_delivers_later_and_a_cut_one_breaks() {
        let (link, listener) = echo();
        let (mut near, mut far) = pair(&link, &listener);
        let mut byte = [0];
        near.write_all(b"1").unwrap();
        far.read_exact(&mut byte).unwrap();
        link.set(Line::Stalled);
        near.write_all(b"2").unwrap();
        assert!(far.read_exact(&mut byte).is_err(), "nothing passes");
        link.set(Line::Open);
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"2");
        link.set(Line::Cut);
        assert_eq!(far.read(&mut byte).unwrap(), 0, "the far side sees the end");
        let mut refused = TcpStream::connect(link.address()).unwrap();
        refused.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(refused.read(&mut byte).is_ok_and(|n| n == 0) || refused.write_all(b"3").is_err());
    }

    #[test]
    fn what_was_dark_stays_dead_and_what_is_new_works() {
        let (link, listener) = echo();
        let (mut near, mut far) = pair(&link, &listener);
        link.set(Line::Deaf);
        let mut byte = [0];
        near.write_all(b"1").unwrap();
        far.read_exact(&mut byte).unwrap();
        far.write_all(b"2").unwrap();
        assert!(near.read_exact(&mut byte).is_err(), "the answer is swallowed");
        link.set(Line::Dark);
        link.set(Line::Open);
        near.write_all(b"3").unwrap();
        assert!(far.read_exact(&mut byte).is_err(), "the old connection is dead");
        let (mut near, mut far) = pair(&link, &listener);
        near.write_all(b"4").unwrap();
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"4");
    }
}
