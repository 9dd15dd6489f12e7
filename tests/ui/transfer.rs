//! A transfer between two namespaces that goes on until it is dropped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nettrace::netns::Netns;

use crate::support::{B4, Pair};

pub(crate) struct Transfer {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped last.
    pub(crate) pair: Pair,
}

impl Transfer {
    /// Some MiB per second from `a` to `b`.
    pub(crate) fn start() -> Self {
        let pair = Pair::new();
        let address: SocketAddr = format!("{B4}:0").parse().unwrap();
        let bind = || Ok(TcpListener::bind(address)?);
        let listener = Netns::open(&pair.b).unwrap().run(bind).unwrap();
        let server = listener.local_addr().unwrap();
        let connect = || Ok(TcpStream::connect(server)?);
        let mut stream = Netns::open(&pair.a).unwrap().run(connect).unwrap();
        let client = stream.local_addr().unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let sender = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&[1; 100_000]).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 100_000];
            while accepted.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        Transfer { client, server, is_over, threads: vec![sender, reader], pair }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
