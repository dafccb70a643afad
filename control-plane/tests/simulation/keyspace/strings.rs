//! Commands on strings.

use super::numbers::integer;
use super::{Answer, Args, ERR, Entry, Keyspace, Refused, Reply, Value, WRONG_TYPE, unknown};

impl Keyspace {
    pub(super) fn strings(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("GET", [key]) => self.string(key).map(|found| Reply::of(found.as_ref())),
            ("MGET", [_, ..]) => {
                let found = args.iter().map(|key| match self.get(key) {
                    Some(Value::String(value)) => Reply::Bulk(value.clone()),
                    _ => Reply::Nil,
                });
                Ok(Reply::Array(found.collect()))
            }
            ("SET", [key, value, options @ ..]) => self.set(key, value, options),
            ("INCR", [key]) => self.increment(key, 1),
            ("DECR", [key]) => self.increment(key, -1),
            ("INCRBY", [key, by]) => integer(by).and_then(|by| self.increment(key, by)),
            ("DECRBY", [key, by]) => {
                let by = integer(by).and_then(|by| by.checked_neg().ok_or(ERR));
                by.and_then(|by| self.increment(key, by))
            }
            _ => return None,
        })
    }

    fn string(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: Args<'_>) -> Answer {
        let (mut only_new, mut only_old, mut tell_old, mut keep) = (false, false, false, false);
        let mut expires_at = None;
        let mut rest = options;
        while let [option, after @ ..] = rest {
            let option = String::from_utf8_lossy(option).to_ascii_uppercase();
            rest = match (option.as_str(), after) {
                ("NX", after) => {
                    only_new = true;
                    after
                }
                ("XX", after) => {
                    only_old = true;
                    after
                }
                ("GET", after) => {
                    tell_old = true;
                    after
                }
                ("KEEPTTL", after) => {
                    keep = true;
                    after
                }
                ("EX" | "PX" | "PXAT", [time, after @ ..]) => {
                    let time = u64::try_from(integer(time)?).map_err(|_| ERR)?;
                    if time == 0 {
                        return Err(ERR);
                    }
                    expires_at = Some(match option.as_str() {
                        "EX" => self.now_ms() + time * 1_000,
                        "PX" => self.now_ms() + time,
                        _ => time,
                    });
                    after
                }
                _ => return unknown("SET", options),
            };
        }
        if only_new && only_old || keep && expires_at.is_some() {
            return Err(ERR);
        }
        let old = if tell_old { self.string(key)? } else { None };
        self.drop_if_expired(key);
        let there = self.entries.get(key);
        let done = !(only_new && there.is_some() || only_old && there.is_none());
        if done {
            let kept = there.and_then(|entry| entry.expires_at).filter(|_| keep);
            let entry = Entry {
                value: Value::String(value.to_vec()),
                expires_at: expires_at.or(kept),
            };
            self.entries.insert(key.to_vec(), entry);
        }
        Ok(match (tell_old, done) {
            (true, _) => Reply::of(old.as_ref()),
            (false, true) => Reply::ok(),
            (false, false) => Reply::Nil,
        })
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Answer {
        let old = match self.string(key)? {
            None => 0,
            Some(value) => integer(&value)?,
        };
        let new = old.checked_add(by).ok_or(ERR)?;
        *self.get_or_make(key, || Value::String(Vec::new())) = Value::String(new.to_string().into_bytes());
        Ok(Reply::Int(new))
    }
}
