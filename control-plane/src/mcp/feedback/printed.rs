//! Output that comes in pieces, as text: a letter may be cut in two.

use std::collections::HashMap;

use dynamic_mcp_shared::job::{Output, OutputStream};

/// For one call.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// What began a letter and did not end it, of each command's streams.
    begun: HashMap<(u32, OutputStream), Vec<u8>>,
    bytes: u64,
}

impl Printed {
    /// The next piece, without a letter that has not come whole. What is no UTF-8 is replaced.
    pub(super) fn text(&mut self, output: &Output) -> String {
        self.bytes += output.data.len() as u64;
        let key = (output.command, output.stream);
        let mut bytes = self.begun.remove(&key).unwrap_or_default();
        bytes.extend_from_slice(&output.data);
        let whole = bytes.len() - begun(&bytes);
        let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
        if whole < bytes.len() {
            self.begun.insert(key, bytes.split_off(whole));
        }
        text
    }

    /// How much has come in all.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How many bytes at the end begin a letter that is longer than that.
fn begun(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(command: u32, data: &[u8]) -> Output {
        Output {
            stream: OutputStream::Stdout,
            data: data.to_vec().into(),
            command,
        }
    }

    #[test]
    fn streams_of_two_commands_do_not_mix() {
        let mut printed = Printed::default();
        let letter = "é".as_bytes();
        assert_eq!(printed.text(&piece(0, &letter[..1])), "");
        assert_eq!(printed.text(&piece(1, b"a")), "a");
        assert_eq!(printed.text(&piece(0, &letter[1..])), "é");
        assert_eq!(printed.bytes(), 3);
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_however_it_is_cut(text in ".{0,20}", cuts in prop::collection::vec(0usize..80, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut printed = Printed::default();
            let joined: String = cuts.windows(2).map(|at| printed.text(&piece(0, &bytes[at[0]..at[1]]))).collect();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn bytes_of_any_kind_are_taken(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)) {
            let mut printed = Printed::default();
            for data in pieces {
                printed.text(&piece(0, &data));
            }
        }
    }
}
