//! Pages of a list in a stable order. A cursor holds the key of the last entry that was shown, not a position, so that it
//! goes on in the right place when entries came or went meanwhile.

use rmcp::ErrorData;
use rmcp::model::{Cursor, PaginatedRequestParams};

/// Entries on one page.
pub(super) const PAGE_SIZE: usize = 100;

/// Changes when old cursors could no longer be read.
const VERSION: &str = "1";

/// Where an entry stands: what is built in comes before tools of the registry and files of sandboxes, each by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    group: Group,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Builtin,
    Registry,
    Sandbox,
}

impl Key {
    pub(super) fn new(group: Group, name: &str) -> Self {
        Self {
            group,
            name: name.to_owned(),
        }
    }

    fn cursor(&self) -> Cursor {
        let group = match self.group {
            Group::Builtin => "b",
            Group::Registry => "r",
            Group::Sandbox => "s",
        };
        hex::encode(format!("{VERSION}{group}{}", self.name))
    }

    fn parse(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
        let rest = text.strip_prefix(VERSION)?;
        let (group, name) = match rest.split_at_checked(1)? {
            ("b", name) => (Group::Builtin, name),
            ("r", name) => (Group::Registry, name),
            ("s", name) => (Group::Sandbox, name),
            _ => return None,
        };
        Some(Self::new(group, name))
    }
}

/// The last entry of the page before, or `None` for the first page.
pub(super) fn after(request: Option<&PaginatedRequestParams>) -> Result<Option<Key>, ErrorData> {
    match request.and_then(|request| request.cursor.as_deref()) {
        None => Ok(None),
        Some(cursor) => Key::parse(cursor).map(Some).ok_or_else(|| {
            ErrorData::invalid_params(
                "cursor is not one that this server gave out; leave it out to begin",
                None,
            )
        }),
    }
}

/// For a list that is always one page.
pub(super) fn only_page(request: Option<&PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|request| request.cursor.as_deref()) {
        None => Ok(()),
        Some(_) => Err(ErrorData::invalid_params(
            "this list has one page and gives out no cursor",
            None,
        )),
    }
}

/// One page of `entries`, which are in order, and the cursor for the next.
pub(super) fn page<T>(
    entries: impl Iterator<Item = (Key, T)>,
    after: Option<&Key>,
    size: usize,
) -> (Vec<T>, Option<Cursor>) {
    let mut rest = entries.skip_while(|(key, _)| after.is_some_and(|after| key <= after));
    let mut items = Vec::new();
    let mut last = None;
    for (key, item) in rest.by_ref().take(size) {
        items.push(item);
        last = Some(key);
    }
    let more = rest.next().is_some();
    (items, last.filter(|_| more).map(|key| key.cursor()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(names: &[String]) -> impl Iterator<Item = (Key, String)> + '_ {
        names
            .iter()
            .map(|name| (Key::new(Group::Registry, name), name.clone()))
    }

    fn request(cursor: Option<Cursor>) -> PaginatedRequestParams {
        PaginatedRequestParams::default().with_cursor(cursor)
    }

    #[test]
    fn builtins_come_before_tools_of_the_registry() {
        assert!(Key::new(Group::Builtin, "z") < Key::new(Group::Registry, "a"));
    }

    #[test]
    fn a_foreign_cursor_is_an_invalid_parameter() {
        for cursor in ["", "x", "31", "326261", "zz", "ffff"] {
            let error = after(Some(&request(Some(cursor.to_owned())))).unwrap_err();
            assert_eq!(error.code, rmcp::model::ErrorCode::INVALID_PARAMS, "{cursor:?}");
        }
        assert_eq!(after(None).unwrap(), None);
        assert_eq!(after(Some(&request(None))).unwrap(), None);
    }

    #[test]
    fn a_cursor_goes_on_when_the_entry_it_names_is_gone() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let (first, cursor) = page(entries(&names), None, 2);
        assert_eq!(first, ["a", "b"]);
        let key = after(Some(&request(cursor))).unwrap();
        let left = ["a", "c", "d"].map(str::to_owned);
        assert_eq!(
            page(entries(&left), key.as_ref(), 2),
            (vec!["c".to_owned(), "d".to_owned()], None)
        );
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_the_key_that_it_was_and_no_text_is_too_much(name in ".{0,20}", builtin in any::<bool>(), text in "([0-9a-f]{2}|.){0,20}") {
            let group = if builtin { Group::Builtin } else { Group::Registry };
            let key = Key::new(group, &name);
            prop_assert_eq!(Key::parse(&key.cursor()), Some(key));
            let read = Key::parse(&text);
            prop_assert!(read.is_none_or(|key| key.cursor().eq_ignore_ascii_case(&text)));
        }

        #[test]
        fn the_pages_together_are_the_list(names in proptest::collection::btree_set("[a-z]{1,6}", 0..40), size in 1usize..7) {
            let names: Vec<String> = names.into_iter().collect();
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let key = after(Some(&request(cursor.take()))).unwrap();
                let (items, next) = page(entries(&names), key.as_ref(), size);
                seen.extend(items);
                match next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
            prop_assert_eq!(seen, names);
        }
    }
}
