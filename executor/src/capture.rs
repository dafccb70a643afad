//! Keeps the head and the tail of what a job prints, and counts the rest, in memory that the job can't make grow.
//!
//! Half of the cap is for what comes first and half for what comes last; both streams share both halves, so that a
//! silent one leaves its room to the other.

use std::collections::VecDeque;

use bytes::Bytes;
use dynamic_mcp_shared::job::CapturedOutput;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone)]
pub struct Capture {
    head_room: usize,
    tail_room: usize,
    stdout: Kept,
    stderr: Kept,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    head: Vec<u8>,
    head_full: bool,
    tail: VecDeque<u8>,
    total: u64,
}

impl Capture {
    /// `max_bytes`: of both streams together.
    pub fn new(max_bytes: u64) -> Self {
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        Self {
            head_room: max / 2,
            tail_room: max - max / 2,
            stdout: Kept::default(),
            stderr: Kept::default(),
        }
    }

    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        kept.total = kept.total.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        if !kept.head_full {
            let taken = rest.len().min(self.head_room);
            kept.head.extend_from_slice(&rest[..taken]);
            self.head_room -= taken;
            rest = &rest[taken..];
            kept.head_full = !rest.is_empty();
        }
        if !rest.is_empty() {
            kept.push_tail(rest, self.tail_room);
            self.shrink_tails();
        }
    }

    /// Counts what was printed and is not here; what comes next is all that the tail is made of.
    pub fn skip(&mut self, stream: Stream, bytes: u64) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        kept.total = kept.total.saturating_add(bytes);
        kept.head_full = true;
        kept.tail.clear();
    }

    /// The longer tail gives way.
    fn shrink_tails(&mut self) {
        let (out, err) = (self.stdout.tail.len(), self.stderr.tail.len());
        let over = (out + err).saturating_sub(self.tail_room);
        let (longer, shorter) = if out >= err {
            (&mut self.stdout.tail, &mut self.stderr.tail)
        } else {
            (&mut self.stderr.tail, &mut self.stdout.tail)
        };
        let from_longer = over.min(longer.len());
        longer.drain(..from_longer);
        shorter.drain(..over - from_longer);
    }

    /// The last bytes of stderr, for a fault that Node.js itself reports there.
    pub fn stderr_tail(&self) -> Vec<u8> {
        let Kept { head, tail, .. } = &self.stderr;
        if tail.is_empty() {
            return head.clone();
        }
        tail.iter().copied().collect()
    }

    /// Stdout and stderr.
    pub fn finish(self) -> (CapturedOutput, CapturedOutput) {
        (self.stdout.finish(), self.stderr.finish())
    }
}

impl Kept {
    fn push_tail(&mut self, bytes: &[u8], room: usize) {
        if bytes.len() >= room {
            self.tail.clear();
            self.tail.extend(&bytes[bytes.len() - room..]);
        } else {
            self.tail.extend(bytes);
        }
    }

    fn finish(self) -> CapturedOutput {
        let whole = (self.head.len() + self.tail.len()) as u64 == self.total;
        let (mut head, tail) = (self.head, Vec::from(self.tail));
        if whole {
            head.extend_from_slice(&tail);
            return CapturedOutput {
                head: head.into(),
                tail: Bytes::new(),
                total_bytes: self.total,
            };
        }
        CapturedOutput {
            head: head.into(),
            tail: tail.into(),
            total_bytes: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn output_within_the_cap_is_kept_whole() {
        let mut capture = Capture::new(10);
        capture.push(Stream::Stdout, b"12345");
        capture.push(Stream::Stdout, b"6789");
        let (stdout, stderr) = capture.finish();
        assert_eq!(
            (stdout.head.as_ref(), stdout.truncated()),
            (&b"123456789"[..], false)
        );
        assert_eq!(stderr, CapturedOutput::default());
    }

    #[test]
    fn longer_output_keeps_its_head_and_its_tail() {
        let mut capture = Capture::new(6);
        for byte in b"abcdefghij" {
            capture.push(Stream::Stdout, &[*byte]);
        }
        let (stdout, _) = capture.finish();
        assert_eq!(stdout.head.as_ref(), b"abc");
        assert_eq!(stdout.tail.as_ref(), b"hij");
        assert_eq!(stdout.omitted_bytes(), 4);
    }

    #[test]
    fn what_was_left_out_elsewhere_is_counted_and_never_joined_over() {
        let mut capture = Capture::new(8);
        capture.push(Stream::Stdout, b"abcdef");
        capture.skip(Stream::Stdout, 100);
        capture.push(Stream::Stdout, b"yz");
        let (stdout, _) = capture.finish();
        assert_eq!((&stdout.head[..], &stdout.tail[..]), (&b"abcd"[..], &b"yz"[..]));
        assert_eq!(stdout.total_bytes, 108);
    }

    #[test]
    fn a_loud_stream_leaves_the_other_ones_last_words() {
        let mut capture = Capture::new(20);
        capture.push(Stream::Stdout, &[b'x'; 100]);
        capture.push(Stream::Stderr, b"why");
        capture.push(Stream::Stdout, &[b'x'; 100]);
        let (_, stderr) = capture.finish();
        assert_eq!(stderr.to_text(), "why");
    }

    proptest! {
        #[test]
        fn never_keeps_more_than_the_cap_and_never_loses_count(
            max in 0u64..64,
            pushes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut capture = Capture::new(max);
            let mut all = (Vec::new(), Vec::new());
            for (is_stdout, bytes) in &pushes {
                let stream = if *is_stdout { Stream::Stdout } else { Stream::Stderr };
                capture.push(stream, bytes);
                if *is_stdout { all.0.extend(bytes) } else { all.1.extend(bytes) };
            }
            let (stdout, stderr) = capture.finish();
            let kept = [&stdout, &stderr].iter().map(|s| s.head.len() + s.tail.len()).sum::<usize>() as u64;
            prop_assert!(kept <= max);
            for (captured, all) in [(&stdout, &all.0), (&stderr, &all.1)] {
                prop_assert_eq!(captured.total_bytes, all.len() as u64);
                prop_assert!(all.starts_with(&captured.head));
                prop_assert!(all.ends_with(&captured.tail));
                prop_assert!(captured.truncated() || captured.tail.is_empty());
            }
        }
    }
}
