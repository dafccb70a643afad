//! Commands on sets. Members come sorted; Redis promises no order.

use std::collections::BTreeSet;

use super::{Answer, Args, Keyspace, Reply, Value, WRONG_TYPE, count};

type Members = BTreeSet<Vec<u8>>;

impl Keyspace {
    pub(super) fn sets(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("SADD", [key, new @ ..]) if !new.is_empty() => self.change_set(key, |members| {
                new.iter()
                    .filter(|member| members.insert(member.to_vec()))
                    .count()
            }),
            ("SREM", [key, gone @ ..]) if !gone.is_empty() => self.change_set(key, |members| {
                gone.iter().filter(|member| members.remove(**member)).count()
            }),
            ("SCARD", [key]) => self.look_at_set(key, |members| count(members.len())),
            ("SISMEMBER", [key, member]) => {
                self.look_at_set(key, |members| Reply::Int(members.contains(*member).into()))
            }
            ("SMEMBERS", [key]) => self.look_at_set(key, |members| {
                Reply::Array(members.iter().map(|member| Reply::of(Some(member))).collect())
            }),
            _ => return None,
        })
    }

    fn look_at_set(&mut self, key: &[u8], answer: impl FnOnce(&Members) -> Reply) -> Answer {
        match self.get(key) {
            None => Ok(answer(&Members::new())),
            Some(Value::Set(members)) => Ok(answer(members)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn change_set(&mut self, key: &[u8], change: impl FnOnce(&mut Members) -> usize) -> Answer {
        let answer = match self.get_or_make(key, || Value::Set(Members::new())) {
            Value::Set(members) => Ok(count(change(members))),
            _ => Err(WRONG_TYPE),
        };
        self.forget_if_empty(key);
        answer
    }
}
