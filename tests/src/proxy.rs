//! A proxy between a client and PostgreSQL that breaks connections where a test wants it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the proxy does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Cuts it in the middle of a message, each time that so many more bytes of COPY data have passed.
    CutCopy(u64),
    /// Passes every so-manieth COMMIT of a transaction that wrote rows, and cuts instead of passing the server's answer.
    SwallowAnswer(u64),
    /// Cuts instead of passing every so-manieth COMMIT of a transaction that wrote rows.
    SwallowCommit(u64),
}

/// A listening proxy; it goes on until the process ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    fault: Fault,
    /// How often the fault may still happen.
    left: AtomicU64,
    happened: AtomicU64,
    /// Bytes of COPY data, or commits, since the fault happened last.
    seen: AtomicU64,
    /// Statements that clients have sent.
    statements: AtomicU64,
}

impl Proxy {
    /// Listens in front of the server of this url, and breaks nothing.
    pub fn counting(url: &str) -> Self {
        Self::new(url, Fault::SwallowCommit(1), 0)
    }

    /// Listens in front of the server of this url; the fault happens at most so many times.
    pub fn new(url: &str, fault: Fault, times: u64) -> Self {
        let upstream = host(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the port is known");
        let [left, happened, seen, statements] = [times, 0, 0, 0].map(AtomicU64::new);
        let shared = Arc::new(Shared { upstream, fault, left, happened, seen, statements });
        let served = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = served.clone();
                std::thread::spawn(move || shared.serve(&client));
            }
        });
        Proxy { address, shared }
    }

    /// Returns a url with the proxy in the server's place.
    pub fn url(&self, url: &str) -> String {
        url.replacen(host(url), &self.address.to_string(), 1)
    }

    /// Returns how many statements were sent to the server, but for the settings of sessions, which come and go: simple queries, and
    /// executions of prepared ones.
    pub fn statements(&self) -> u64 {
        self.shared.statements.load(Ordering::SeqCst)
    }

    /// Returns how often the fault has happened.
    pub fn happened(&self) -> u64 {
        self.shared.happened.load(Ordering::SeqCst)
    }
}

fn host(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').expect("the url names a role");
    rest.split_once('/').expect("the url names a database").0
}

impl Shared {
    /// Passes messages both ways until one side closes, or the fault happens.
    fn serve(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(&self.upstream) else { return };
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let swallowing = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count) = (&server).read(&mut buffer) {
                    // The answer to COMMIT: the server has acted, and nobody is told.
                    let swallowed = swallowing.load(Ordering::SeqCst);
                    if count == 0 || swallowed || (&*client).write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                cut(client, &server);
            });
            let _ = self.pass(client, &server, &swallowing);
            if !swallowing.load(Ordering::SeqCst) {
                cut(client, &server);
            }
        });
    }

    /// Passes the client's messages one by one.
    fn pass(&self, mut client: &TcpStream, mut server: &TcpStream, swallowing: &AtomicBool) -> std::io::Result<()> {
        const ENCRYPTION: [u8; 4] = 80_877_103_u32.to_be_bytes();
        // The first message has no tag; nor has a question for encryption before it, which the server answers with no.
        loop {
            let body = message(client)?;
            server.write_all(&framed(None, &body))?;
            if !body.starts_with(&ENCRYPTION) {
                break;
            }
        }
        let mut wrote = false;
        loop {
            let mut tag = [0];
            client.read_exact(&mut tag)?;
            let body = message(client)?;
            let bytes = framed(Some(tag[0]), &body);
            if tag[0] == b'E' || tag[0] == b'Q' && !body.starts_with(b"SET ") {
                self.statements.fetch_add(1, Ordering::SeqCst);
            }
            let commit = tag[0] == b'Q' && body == b"COMMIT\0";
            match self.fault {
                Fault::CutCopy(after) if tag[0] == b'd' && self.due(body.len() as u64, after) => {
                    return server.write_all(&bytes[..bytes.len() / 2]);
                }
                Fault::SwallowCommit(every) if commit && wrote && self.due(1, every) => return Ok(()),
                Fault::SwallowAnswer(every) if commit && wrote && self.due(1, every) => {
                    swallowing.store(true, Ordering::SeqCst);
                    return server.write_all(&bytes);
                }
                Fault::CutCopy(_) | Fault::SwallowCommit(_) | Fault::SwallowAnswer(_) => server.write_all(&bytes)?,
            }
            wrote = (wrote || tag[0] == b'd') && !commit;
        }
    }

    /// Counts, and returns whether the fault is to happen now.
    fn due(&self, count: u64, limit: u64) -> bool {
        if self.seen.fetch_add(count, Ordering::SeqCst) + count < limit {
            return false;
        }
        let one_less = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if one_less.is_ok() {
            self.seen.store(0, Ordering::SeqCst);
            self.happened.fetch_add(1, Ordering::SeqCst);
        }
        one_less.is_ok()
    }
}

fn message(mut from: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn framed(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.extend(tag);
    bytes.extend(u32::try_from(body.len() + 4).expect("a message is below 4 GiB").to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn cut(client: &TcpStream, server: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
