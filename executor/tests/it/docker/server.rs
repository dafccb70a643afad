//! An HTTP server of the test's own on loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// Answers on a free port, in a thread that ends with the test's process.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Answer {
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            content_type: "application/octet-stream",
            body: body.into(),
        }
    }
}

impl Server {
    /// `answer`: from the address of the server and a path; `None` is a 404.
    pub fn start(answer: impl Fn(SocketAddr, &str) -> Option<Answer> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                serve(stream.unwrap(), |path| answer(address, path));
            }
        });
        Self { address, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One request of one connection; a client that breaks off gets nothing, and so does one that tries TLS first.
fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> Option<Answer>) {
    const TLS_HANDSHAKE: u8 = 22;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) if !(head.is_empty() && byte[0] == TLS_HANDSHAKE) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let (status, answer) = match answer(path) {
        Some(answer) => ("200 OK", answer),
        None => ("404 Not Found", Answer::of("{}")),
    };
    let Answer { content_type, body } = answer;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let body = if method == "HEAD" { &[][..] } else { &body };
    let _gone = stream.write_all(&[head.as_bytes(), body].concat());
}
