//! Commands on keys whatever they hold, and those on none.

use super::numbers::integer;
use super::{Answer, Args, ERR, Keyspace, Reply, Value, count, unknown};

impl Keyspace {
    pub(super) fn keys(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("TIME", []) => Ok(self.time()),
            ("PUBLISH", [channel, message]) => {
                self.published.push((channel.to_vec(), message.to_vec()));
                Ok(Reply::Int(0))
            }
            ("DEL" | "UNLINK", [_, ..]) => Ok(self.delete(args)),
            ("EXISTS", [_, ..]) => Ok(count(args.iter().filter(|key| self.get(key).is_some()).count())),
            ("TYPE", [key]) => Ok(self.kind(key)),
            ("TTL", [key]) => Ok(self.time_to_live(key, 1_000)),
            ("PTTL", [key]) => Ok(self.time_to_live(key, 1)),
            ("PERSIST", [key]) => Ok(self.persist(key)),
            ("EXPIRE", [key, time, option @ ..]) => self.expire(key, time, 1_000, true, option),
            ("PEXPIRE", [key, time, option @ ..]) => self.expire(key, time, 1, true, option),
            ("EXPIREAT", [key, time, option @ ..]) => self.expire(key, time, 1_000, false, option),
            ("PEXPIREAT", [key, time, option @ ..]) => self.expire(key, time, 1, false, option),
            _ => return None,
        })
    }

    fn time(&self) -> Reply {
        let part = |number: u64| Reply::Bulk(number.to_string().into_bytes());
        Reply::Array(vec![part(self.now / 1_000_000), part(self.now % 1_000_000)])
    }

    fn delete(&mut self, keys: Args<'_>) -> Reply {
        let gone = keys.iter().filter(|key| {
            self.drop_if_expired(key);
            self.entries.remove(**key).is_some()
        });
        count(gone.count())
    }

    fn kind(&mut self, key: &[u8]) -> Reply {
        let kind = match self.get(key) {
            None => "none",
            Some(Value::String(_)) => "string",
            Some(Value::Hash(_)) => "hash",
            Some(Value::Set(_)) => "set",
            Some(Value::Sorted(_)) => "zset",
            Some(Value::List(_)) => "list",
        };
        Reply::Status(kind.to_owned())
    }

    fn time_to_live(&mut self, key: &[u8], unit_ms: u64) -> Reply {
        self.drop_if_expired(key);
        let now = self.now_ms();
        match self.entries.get(key).map(|entry| entry.expires_at) {
            None => Reply::Int(-2),
            Some(None) => Reply::Int(-1),
            Some(Some(at)) => {
                let left = (at - now + unit_ms / 2) / unit_ms;
                Reply::Int(i64::try_from(left).expect("fewer than 2^63"))
            }
        }
    }

    fn persist(&mut self, key: &[u8]) -> Reply {
        self.drop_if_expired(key);
        let had = self
            .entries
            .get_mut(key)
            .and_then(|entry| entry.expires_at.take());
        Reply::Int(had.is_some().into())
    }

    fn expire(&mut self, key: &[u8], time: &[u8], unit_ms: i64, from_now: bool, option: Args<'_>) -> Answer {
        let since = if from_now { self.now_ms() } else { 0 };
        let since = i64::try_from(since).expect("fewer than 2^63");
        let at = integer(time)?
            .checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(since));
        let at = at.ok_or(ERR)?;
        self.drop_if_expired(key);
        let now = self.now_ms();
        let Some(entry) = self.entries.get_mut(key) else {
            return Ok(Reply::Int(0));
        };
        let at = u64::try_from(at).unwrap_or(0);
        let allowed = match option {
            [] => true,
            [option] if option.eq_ignore_ascii_case(b"NX") => entry.expires_at.is_none(),
            [option] if option.eq_ignore_ascii_case(b"XX") => entry.expires_at.is_some(),
            // A key without a time to live lives for ever.
            [option] if option.eq_ignore_ascii_case(b"GT") => entry.expires_at.is_some_and(|old| at > old),
            [option] if option.eq_ignore_ascii_case(b"LT") => entry.expires_at.is_none_or(|old| at < old),
            other => return unknown("EXPIRE", other),
        };
        if !allowed {
            return Ok(Reply::Int(0));
        }
        if at <= now {
            self.entries.remove(key);
        } else {
            entry.expires_at = Some(at);
        }
        Ok(Reply::Int(1))
    }
}
