//! Commands on hashes. Fields come sorted; Redis promises no order.

use std::collections::BTreeMap;

use super::numbers::integer;
use super::{Answer, Args, ERR, Keyspace, Refused, Reply, Value, WRONG_TYPE, count};

type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

impl Keyspace {
    pub(super) fn hashes(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("HGET", [key, field]) => self.look(key, |fields| Reply::of(fields.get(*field))),
            ("HMGET", [key, wanted @ ..]) if !wanted.is_empty() => self.look(key, |fields| {
                Reply::Array(wanted.iter().map(|field| Reply::of(fields.get(*field))).collect())
            }),
            ("HEXISTS", [key, field]) => {
                self.look(key, |fields| Reply::Int(fields.contains_key(*field).into()))
            }
            ("HLEN", [key]) => self.look(key, |fields| count(fields.len())),
            ("HKEYS", [key]) => self.look(key, |fields| {
                Reply::Array(fields.keys().map(|field| Reply::of(Some(field))).collect())
            }),
            ("HVALS", [key]) => self.look(key, |fields| {
                Reply::Array(fields.values().map(|value| Reply::of(Some(value))).collect())
            }),
            ("HGETALL", [key]) => self.look(key, |fields| {
                let pairs = fields.iter().flat_map(|(field, value)| [field, value]);
                Reply::Array(pairs.map(|bytes| Reply::of(Some(bytes))).collect())
            }),
            ("HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => self.hset(key, pairs),
            ("HMSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
                self.hset(key, pairs).map(|_added| Reply::ok())
            }
            ("HSETNX", [key, field, value]) => self.change(key, |fields| {
                let is_new = !fields.contains_key(*field);
                if is_new {
                    fields.insert(field.to_vec(), value.to_vec());
                }
                Ok(Reply::Int(is_new.into()))
            }),
            ("HINCRBY", [key, field, by]) => self.change(key, |fields| {
                let old = fields.get(*field).map_or(Ok(0), |value| integer(value))?;
                let new = old.checked_add(integer(by)?).ok_or(ERR)?;
                fields.insert(field.to_vec(), new.to_string().into_bytes());
                Ok(Reply::Int(new))
            }),
            ("HDEL", [key, gone @ ..]) if !gone.is_empty() => self.change(key, |fields| {
                Ok(count(
                    gone.iter()
                        .filter(|field| fields.remove(**field).is_some())
                        .count(),
                ))
            }),
            _ => return None,
        })
    }

    fn hset(&mut self, key: &[u8], pairs: Args<'_>) -> Answer {
        self.change(key, |fields| {
            let before = fields.len();
            for pair in pairs.chunks_exact(2) {
                fields.insert(pair[0].to_vec(), pair[1].to_vec());
            }
            Ok(count(fields.len() - before))
        })
    }

    fn look(&mut self, key: &[u8], answer: impl FnOnce(&Fields) -> Reply) -> Answer {
        match self.get(key) {
            None => Ok(answer(&Fields::new())),
            Some(Value::Hash(fields)) => Ok(answer(fields)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Fields) -> Result<Reply, Refused>) -> Answer {
        let answer = match self.get_or_make(key, || Value::Hash(Fields::new())) {
            Value::Hash(fields) => change(fields),
            _ => Err(WRONG_TYPE),
        };
        self.forget_if_empty(key);
        answer
    }
}
