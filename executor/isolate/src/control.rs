//! What passes between the broker and a zygote: short messages over a socket that keeps them apart. A zygote never gets
//! anything of a caller's: to make a child it is told a number and handed the child's end of a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::walls::{Finding, Wall};

/// The longest message, either way.
const MAX_BYTES: usize = 8_192;
/// Of one reason.
const MAX_REASON: usize = 400;

/// Makes a control socket: the broker's end, which never blocks, and the zygote's.
///
/// # Errors
/// When there is no descriptor left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (broker, zygote) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::io::ioctl_fionbio(&broker, true)?;
    Ok((broker, zygote))
}

/// What a zygote is to be like. It comes first, and once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of the engine's heap in one child.
    pub memory_bytes: u64,
    /// Of a child in its whole life.
    pub cpu_seconds: u64,
    /// Whether to try to have own namespaces. A zygote that fails half-way can't take it back, so it is started anew.
    pub namespaces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Configure(Settings),
    /// Comes with the child's end of its channel.
    Spawn {
        id: u64,
    },
    Kill {
        id: u64,
    },
    /// A call of the child begins to be long: what it has had of the processor is counted from here.
    Count {
        id: u64,
    },
    /// The child gives way to all others, if its call has had much of the processor.
    Weigh {
        id: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It can make children.
    Hello {
        findings: Vec<Finding>,
    },
    /// It can't, and is gone; without this wall it might.
    Refused {
        wall: Wall,
        why: String,
    },
    Exited {
        id: u64,
        status: i32,
        max_rss_kib: u64,
    },
    Failed {
        id: u64,
        errno: i32,
    },
    /// For good: no process may take back that it gives way.
    GaveWay {
        id: u64,
    },
}

/// Hands a zygote a request, if there is room for it at once.
///
/// # Errors
/// `WouldBlock` when the zygote doesn't read; others when it is gone.
pub fn send(socket: BorrowedFd<'_>, request: &Request, channel: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let message = request.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let handed = channel.as_slice();
    if !handed.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(handed));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&message)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// The next answer of a zygote; `None` when it is gone.
///
/// # Errors
/// `WouldBlock` when there is none now, `InvalidData` for what no zygote says.
pub fn receive_answer(socket: BorrowedFd<'_>) -> io::Result<Option<Answer>> {
    let mut buffer = [0; MAX_BYTES];
    let (bytes, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty())?;
    if bytes == 0 {
        return Ok(None);
    }
    let answer = Answer::decode(&buffer[..bytes]);
    answer
        .map(Some)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

pub(crate) fn receive_request(socket: BorrowedFd<'_>) -> io::Result<Option<(Request, Option<OwnedFd>)>> {
    let mut buffer = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut buffer)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let handed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let request = Request::decode(&buffer[..received.bytes]);
    let request = request.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some((request, handed)))
}

pub(crate) fn answer(socket: BorrowedFd<'_>, answer: &Answer) -> io::Result<()> {
    rustix::net::send(socket, &answer.encode(), SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Request {
    fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(32);
        match self {
            Self::Configure(settings) => {
                message.push(b'c');
                message.extend_from_slice(&settings.memory_bytes.to_le_bytes());
                message.extend_from_slice(&settings.cpu_seconds.to_le_bytes());
                message.push(u8::from(settings.namespaces));
            }
            Self::Spawn { id } => about(&mut message, b's', *id),
            Self::Kill { id } => about(&mut message, b'k', *id),
            Self::Count { id } => about(&mut message, b'n', *id),
            Self::Weigh { id } => about(&mut message, b'w', *id),
        }
        message
    }

    fn decode(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        Some(match reader.byte()? {
            b'c' => Self::Configure(Settings {
                memory_bytes: reader.number()?,
                cpu_seconds: reader.number()?,
                namespaces: reader.byte()? != 0,
            }),
            b's' => Self::Spawn { id: reader.number()? },
            b'k' => Self::Kill { id: reader.number()? },
            b'n' => Self::Count { id: reader.number()? },
            b'w' => Self::Weigh { id: reader.number()? },
            _ => return None,
        })
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(32);
        match self {
            Self::Hello { findings } => {
                message.push(b'h');
                for found in findings {
                    message.push(found.wall as u8);
                    message.push(u8::from(found.holds()));
                    write_text(&mut message, found.lacking.as_deref().unwrap_or_default());
                }
            }
            Self::Refused { wall, why } => {
                message.extend_from_slice(&[b'r', *wall as u8]);
                write_text(&mut message, why);
            }
            Self::Exited {
                id,
                status,
                max_rss_kib,
            } => {
                message.push(b'x');
                message.extend_from_slice(&id.to_le_bytes());
                message.extend_from_slice(&status.to_le_bytes());
                message.extend_from_slice(&max_rss_kib.to_le_bytes());
            }
            Self::Failed { id, errno } => {
                message.push(b'f');
                message.extend_from_slice(&id.to_le_bytes());
                message.extend_from_slice(&errno.to_le_bytes());
            }
            Self::GaveWay { id } => about(&mut message, b'g', *id),
        }
        message
    }

    fn decode(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        Some(match reader.byte()? {
            b'h' => {
                let mut findings = Vec::new();
                while !reader.0.is_empty() {
                    let wall = Wall::from_byte(reader.byte()?)?;
                    let holds = reader.byte()? != 0;
                    let why = reader.text()?;
                    findings.push(Finding::new(wall, if holds { Ok(()) } else { Err(why) }));
                }
                Self::Hello { findings }
            }
            b'r' => Self::Refused {
                wall: Wall::from_byte(reader.byte()?)?,
                why: reader.text()?,
            },
            b'x' => Self::Exited {
                id: reader.number()?,
                status: reader.small()?,
                max_rss_kib: reader.number()?,
            },
            b'f' => Self::Failed {
                id: reader.number()?,
                errno: reader.small()?,
            },
            b'g' => Self::GaveWay { id: reader.number()? },
            _ => return None,
        })
    }
}

fn about(message: &mut Vec<u8>, kind: u8, id: u64) {
    message.push(kind);
    message.extend_from_slice(&id.to_le_bytes());
}

fn write_text(message: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(MAX_REASON)];
    message.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
    message.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let bytes = usize::from(u16::from_le_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn requests_and_answers_come_out_as_they_went_in() {
        let settings = Settings {
            memory_bytes: 1 << 40,
            cpu_seconds: 3,
            namespaces: true,
        };
        for request in [
            Request::Configure(settings),
            Request::Spawn { id: 7 },
            Request::Kill { id: u64::MAX },
            Request::Count { id: 8 },
            Request::Weigh { id: 9 },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let findings = vec![
            Finding::new(Wall::Seccomp, Ok(())),
            Finding::new(Wall::Landlock, Err("the kernel has none".to_owned())),
        ];
        for answer in [
            Answer::Hello { findings },
            Answer::Refused {
                wall: Wall::Namespaces,
                why: "not permitted".to_owned(),
            },
            Answer::Exited {
                id: 1,
                status: -9,
                max_rss_kib: 5,
            },
            Answer::Failed { id: 2, errno: 11 },
            Answer::GaveWay { id: 3 },
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answer::decode(b"x\0"), None);
        assert_eq!(Request::decode(b""), None);
    }

    #[test]
    fn a_descriptor_goes_along_with_a_request() {
        let (broker, zygote) = pair().unwrap();
        let (channel, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let request = Request::Spawn { id: 1 };
        send(broker.as_fd(), &request, Some(channel.as_fd())).unwrap();
        let (received, handed) = receive_request(zygote.as_fd()).unwrap().unwrap();
        assert_eq!((received, handed.is_some()), (request, true));
        answer(zygote.as_fd(), &Answer::Failed { id: 1, errno: 2 }).unwrap();
        let failed = Some(Answer::Failed { id: 1, errno: 2 });
        assert_eq!(receive_answer(broker.as_fd()).unwrap(), failed);
        drop(zygote);
        assert_eq!(receive_answer(broker.as_fd()).unwrap(), None);
    }
}
