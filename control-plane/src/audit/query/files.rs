//! Entries in the local files, read backwards: what closed an entry comes before what opened it.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::{Cursor, Entry, Filter, Page};
use crate::audit::chain::Seal;
use crate::audit::columns::Columns;
use crate::audit::files::{Backwards, open_all};

/// What one question may read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Blocks; for a thread of its own.
pub(in crate::audit) fn search(
    path: &Path,
    filter: &Filter,
    limit: usize,
    after: Option<Cursor>,
) -> io::Result<Page> {
    let mut page = Page::default();
    let mut closings: HashMap<String, Columns> = HashMap::new();
    let mut skipping = after;
    let mut bytes = 0;
    let mut last = None;
    for (_, file) in open_all(path)?.into_iter().rev() {
        let mut lines = Backwards::new(file)?;
        while let Some(line) = lines.next()? {
            let (Some(seal), Some(mut columns)) = (Seal::of(&line), Columns::of(&line)) else {
                continue;
            };
            if columns.tenant.as_ref() != Some(&filter.tenant) {
                continue;
            }
            let Some(id) = columns.id.clone() else { continue };
            if columns.phase == "closed" {
                closings.insert(id, columns);
                continue;
            }
            let closing = closings.remove(&id);
            if let Some(cursor) = skipping {
                if (seal.chain, seal.seq) == (cursor.chain, cursor.seq) {
                    skipping = None;
                }
                continue;
            }
            if bytes + lines.bytes_read() > MAX_BYTES {
                page.next = last;
                return Ok(page);
            }
            if !filter.wants(&columns, closing.as_ref()) {
                last = Some(cursor(&columns, seal));
                continue;
            }
            if page.entries.len() == limit {
                page.next = last;
                return Ok(page);
            }
            last = Some(cursor(&columns, seal));
            columns.id = Some(id);
            page.entries.push(Entry::new(columns, closing));
        }
        bytes += lines.bytes_read();
    }
    Ok(page)
}

fn cursor(columns: &Columns, seal: Seal<'_>) -> Cursor {
    Cursor {
        at: columns.at,
        chain: seal.chain,
        seq: seal.seq,
    }
}
