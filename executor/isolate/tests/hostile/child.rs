//! A child's body that does what its call's code names.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::UdpSocket;

use dynamic_mcp_isolate::body::{Body, Exit};
use dynamic_mcp_isolate::channel::Channel;
use dynamic_mcp_isolate::frame::{self, Kind, RequestHeader};

/// Of the arguments: do it.
pub const MARKED: &str = "\"marked\"";

pub struct Hostile;

impl Body for Hostile {
    fn warm(&mut self, _memory_bytes: u64) -> Result<(), String> {
        Ok(())
    }

    fn serve(&mut self, channel: Channel) -> Exit {
        let mut channel = channel.into_file();
        match act(&mut channel) {
            Ok(exit) => exit,
            Err(_) => Exit::Failed,
        }
    }
}

fn act(channel: &mut File) -> io::Result<Exit> {
    let mut header = [0; RequestHeader::BYTES];
    channel.read_exact(&mut header)?;
    let header = RequestHeader::decode(header);
    let name = read(channel, header.code_bytes.unwrap_or(0))?;
    if name == b"leave_the_arguments_unread" {
        return silent();
    }
    let args = read(channel, header.args_bytes)?;
    match name.as_slice() {
        b"forbidden_call" if args == MARKED.as_bytes() => {
            let _dead = UdpSocket::bind("0.0.0.0:0");
        }
        b"overflow_the_stack" => {
            deep(0);
        }
        b"end_at_once" => return Ok(Exit::Done),
        b"fail" => return Ok(Exit::Failed),
        b"panic" => panic!("on purpose"),
        b"say_nothing" => return silent(),
        b"unknown_kind" => channel.write_all(&[b'z', 0, 0, 0, 0])?,
        b"ready_again" => channel.write_all(&frame::header(Kind::Ready, 0))?,
        b"half_a_header_then_silence" => {
            channel.write_all(b"r\x10")?;
            return silent();
        }
        b"half_a_header_then_the_end" => {
            channel.write_all(b"r\x10")?;
            return Ok(Exit::Done);
        }
        b"half_a_payload_then_silence" => {
            channel.write_all(&frame::header(Kind::Result, 100))?;
            channel.write_all(b"[1")?;
            return silent();
        }
        b"half_a_payload_then_the_end" => {
            channel.write_all(&frame::header(Kind::Result, 100))?;
            channel.write_all(b"[1")?;
            return Ok(Exit::Done);
        }
        b"stdout_of_gigabytes" => claim(channel, Kind::Stdout)?,
        b"progress_of_gigabytes" => claim(channel, Kind::Progress)?,
        b"error_of_gigabytes" => claim(channel, Kind::Threw)?,
        b"result_of_gigabytes" => claim(channel, Kind::Result)?,
        b"progress_without_end" => {
            repeat(channel, Kind::Progress, br#"{"progress":1}"#)?;
        }
        b"progress_that_is_none" => {
            send(channel, Kind::Progress, b"[[[[nonsense")?;
            send(channel, Kind::Result, b"1")?;
        }
        b"print_without_end" => repeat(channel, Kind::Stdout, &[b'x'; frame::MAX_OUTPUT_BYTES])?,
        b"print_nothing_without_end" => repeat(channel, Kind::Stderr, b"")?,
        b"result_that_is_not_json" => send(channel, Kind::Result, b"{\"a\":")?,
        b"result_that_is_not_text" => send(channel, Kind::Result, b"\"\xff\xfe\"")?,
        b"deep_result" => {
            let deep = ["[".repeat(10_000), "]".repeat(10_000)].concat();
            send(channel, Kind::Result, deep.as_bytes())?;
        }
        b"error_that_is_none" => send(channel, Kind::Threw, &[0xff; 300])?,
        b"two_results" => {
            send(channel, Kind::Result, b"1")?;
            repeat(channel, Kind::Result, b"2")?;
        }
        _ => send(channel, Kind::Result, b"\"served\"")?,
    }
    Ok(Exit::Done)
}

fn read(channel: &mut File, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    channel.read_exact(&mut buffer)?;
    Ok(buffer)
}

fn send(channel: &mut File, kind: Kind, payload: &[u8]) -> io::Result<()> {
    channel.write_all(&[&frame::header(kind, payload.len()), payload].concat())
}

fn repeat(channel: &mut File, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let message = [&frame::header(kind, payload.len()), payload].concat();
    loop {
        channel.write_all(&message)?;
    }
}

/// Says that more follows than any frame may have, and lets as much follow as is taken.
fn claim(channel: &mut File, kind: Kind) -> io::Result<()> {
    channel.write_all(&frame::header(kind, 3 << 30))?;
    loop {
        channel.write_all(&[b'x'; 4_096])?;
    }
}

/// Until the stack has no room left.
fn deep(level: u64) -> u64 {
    let room = std::hint::black_box([level; 512]);
    if room[0] == u64::MAX {
        return 0;
    }
    deep(level + 1) + room[1]
}

/// Until it is ended.
fn silent() -> io::Result<Exit> {
    loop {
        let _interrupted = rustix::thread::clock_nanosleep_relative(
            rustix::thread::ClockId::Monotonic,
            &rustix::time::Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            },
        );
    }
}
