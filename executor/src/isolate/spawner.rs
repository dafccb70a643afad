//! Starts zygotes and sees them off, from one thread that lives as long as the engine: a zygote asks the kernel to die
//! with the thread that started it, and the runtime's own threads come and go.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use dynamic_mcp_isolate::ZYGOTE_ARGUMENT;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot;

/// For a zygote to end in order, with everything below it.
const ORDERLY: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

enum Order {
    Start {
        control: OwnedFd,
        started: oneshot::Sender<io::Result<Child>>,
    },
    End {
        process: Child,
        ended: Option<oneshot::Sender<()>>,
    },
}

/// The thread ends when the last of these is dropped.
#[derive(Clone)]
pub struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    /// # Errors
    /// When no thread can be started.
    pub fn new(program: PathBuf) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("isolate-spawner".to_owned())
            .spawn(move || work(&program, &inbox))?;
        Ok(Self(orders))
    }

    /// A process that is to become a zygote, with `control` as its standard input.
    ///
    /// # Errors
    /// When the program can't be executed.
    pub async fn start(&self, control: OwnedFd) -> io::Result<Child> {
        let (started, answer) = oneshot::channel();
        let _always_there = self.0.send(Order::Start { control, started });
        answer
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Ends a zygote and all its children, whatever state they are in. `ended` is told when nothing is left.
    pub fn end(&self, process: Child, ended: Option<oneshot::Sender<()>>) {
        let _always_there = self.0.send(Order::End { process, ended });
    }
}

fn work(program: &PathBuf, inbox: &mpsc::Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Start { control, started } => {
                if let Err(Ok(unwanted)) = started.send(start(program, control)) {
                    end(unwanted);
                }
            }
            Order::End { process, ended } => {
                end(process);
                if let Some(ended) = ended {
                    let _nobody_waits = ended.send(());
                }
            }
        }
    }
}

/// It gets nothing of ours: no variable, no descriptor, no argument but the one that says what it is.
fn start(program: &PathBuf, control: OwnedFd) -> io::Result<Child> {
    Command::new(program)
        .arg0("dynamic-mcp-isolate")
        .arg(ZYGOTE_ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(control))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn end(mut process: Child) {
    let Ok(pid) = i32::try_from(process.id()) else {
        return;
    };
    // The process that we started takes everything below it along, and ends last.
    let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let asked = Instant::now();
    while asked.elapsed() < ORDERLY {
        match process.try_wait() {
            Ok(None) => thread::sleep(LOOK_AGAIN),
            _ => return,
        }
    }
    let _gone = process.kill();
    let _gone = process.wait();
}
