//! The smallest broker that there can be: one zygote, one child, one call.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dynamic_mcp_isolate::ZYGOTE_ARGUMENT;
use dynamic_mcp_isolate::control::{self, Answer, Request, Settings};
use dynamic_mcp_isolate::frame::{self, Kind};
use dynamic_mcp_isolate::walls::{Finding, Wall};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Zygote {
    control: OwnedFd,
    process: Child,
    pub findings: Vec<Finding>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Result(String),
    Other(Kind),
    /// The wait status of a child that said nothing.
    Died(i32),
}

impl Zygote {
    /// With the walls of `mode`; without namespaces where there are none to be had.
    pub fn start(mode: &str, body: &str) -> Self {
        match Self::try_start(mode, body, true) {
            Err((Wall::Namespaces, _)) => Self::try_start(mode, body, false).unwrap(),
            started => started.unwrap(),
        }
    }

    pub fn try_start(mode: &str, body: &str, namespaces: bool) -> Result<Self, (Wall, String)> {
        let (control, theirs) = control::pair().unwrap();
        let process = Command::new("/proc/self/exe")
            .args([ZYGOTE_ARGUMENT, mode, body])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let settings = Settings {
            memory_bytes: 256 << 20,
            cpu_seconds: 60,
            namespaces,
        };
        control::send(control.as_fd(), &Request::Configure(settings), None).unwrap();
        let mut zygote = Self {
            control,
            process,
            findings: Vec::new(),
        };
        match zygote.answer() {
            Answer::Hello { findings } => {
                zygote.findings = findings;
                Ok(zygote)
            }
            Answer::Refused { wall, why } => Err((wall, why)),
            other => panic!("{other:?}"),
        }
    }

    pub fn call(&self, code: &str) -> (End, i32) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        control::send(
            self.control.as_fd(),
            &Request::Spawn { id: 1 },
            Some(theirs.as_fd()),
        )
        .unwrap();
        drop(theirs);
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = frame::Request {
            deadline_ms: 5_000,
            max_result_bytes: 1_000,
            memory_kib: u32::MAX,
            once: true,
            code: Some(code.as_bytes()),
            args: b"{}",
        };
        let _dead = ours.write_all(&request.encode());
        let last = last_frame(&mut ours);
        drop(ours);
        let Answer::Exited { status, .. } = self.answer() else {
            panic!("the zygote said something else");
        };
        (last.unwrap_or(End::Died(status)), status)
    }

    fn answer(&self) -> Answer {
        let began = Instant::now();
        loop {
            match control::receive_answer(self.control.as_fd()) {
                Ok(Some(answer)) => return answer,
                Ok(None) => panic!("the zygote is gone"),
                Err(_) => sleep(Duration::from_millis(1)),
            }
            assert!(began.elapsed() < PATIENCE, "the zygote says nothing");
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn last_frame(stream: &mut UnixStream) -> Option<End> {
    loop {
        let mut header = [0; frame::HEADER_BYTES];
        stream.read_exact(&mut header).ok()?;
        let (kind, bytes) = frame::read_header(header, 1_000).unwrap();
        let mut payload = vec![0; bytes];
        stream.read_exact(&mut payload).ok()?;
        match kind {
            Kind::Ready | Kind::Stdout | Kind::Stderr | Kind::Progress => {}
            Kind::Result => return Some(End::Result(String::from_utf8(payload).unwrap())),
            other => return Some(End::Other(other)),
        }
    }
}
