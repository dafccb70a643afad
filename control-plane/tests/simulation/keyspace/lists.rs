//! Commands on lists.

use std::collections::VecDeque;

use super::numbers::integer;
use super::{Answer, Args, Keyspace, Reply, Value, WRONG_TYPE, count};

type Items = VecDeque<Vec<u8>>;

impl Keyspace {
    pub(super) fn lists(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("LPUSH", [key, new @ ..]) if !new.is_empty() => self.push(key, |items| {
                new.iter().for_each(|item| items.push_front(item.to_vec()));
            }),
            ("RPUSH", [key, new @ ..]) if !new.is_empty() => self.push(key, |items| {
                new.iter().for_each(|item| items.push_back(item.to_vec()));
            }),
            ("LPOP", [key]) => self.pop(key, VecDeque::pop_front),
            ("RPOP", [key]) => self.pop(key, VecDeque::pop_back),
            ("LLEN", [key]) => self.look_at_list(key, |items| count(items.len())),
            ("LINDEX", [key, index]) => self.index(key, index),
            ("LRANGE", [key, from, to]) => self.range_of_list(key, from, to),
            ("LTRIM", [key, from, to]) => self.trim(key, from, to),
            ("LREM", [key, times, gone]) => self.remove_items(key, times, gone),
            _ => return None,
        })
    }

    fn look_at_list(&mut self, key: &[u8], answer: impl FnOnce(&Items) -> Reply) -> Answer {
        match self.get(key) {
            None => Ok(answer(&Items::new())),
            Some(Value::List(items)) => Ok(answer(items)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn push(&mut self, key: &[u8], push: impl FnOnce(&mut Items)) -> Answer {
        match self.get_or_make(key, || Value::List(Items::new())) {
            Value::List(items) => {
                push(items);
                Ok(count(items.len()))
            }
            _ => Err(WRONG_TYPE),
        }
    }

    fn pop(&mut self, key: &[u8], pop: fn(&mut Items) -> Option<Vec<u8>>) -> Answer {
        let popped = match self.get_mut(key) {
            None => None,
            Some(Value::List(items)) => pop(items),
            Some(_) => return Err(WRONG_TYPE),
        };
        self.forget_if_empty(key);
        Ok(Reply::of(popped.as_ref()))
    }

    fn index(&mut self, key: &[u8], index: &[u8]) -> Answer {
        let index = integer(index)?;
        self.look_at_list(key, |items| {
            let length = i64::try_from(items.len()).expect("fewer than 2^63");
            let index = if index < 0 { index + length } else { index };
            Reply::of(usize::try_from(index).ok().and_then(|index| items.get(index)))
        })
    }

    fn range_of_list(&mut self, key: &[u8], from: &[u8], to: &[u8]) -> Answer {
        let (from, to) = (integer(from)?, integer(to)?);
        self.look_at_list(key, |items| {
            let range = super::sorted::by_rank(from, to, items.len());
            Reply::Array(items.range(range).map(|item| Reply::of(Some(item))).collect())
        })
    }

    fn trim(&mut self, key: &[u8], from: &[u8], to: &[u8]) -> Answer {
        let (from, to) = (integer(from)?, integer(to)?);
        match self.get_mut(key) {
            None => {}
            Some(Value::List(items)) => {
                let range = super::sorted::by_rank(from, to, items.len());
                items.truncate(range.end);
                items.drain(..range.start);
            }
            Some(_) => return Err(WRONG_TYPE),
        }
        self.forget_if_empty(key);
        Ok(Reply::ok())
    }

    fn remove_items(&mut self, key: &[u8], times: &[u8], gone: &[u8]) -> Answer {
        let times = integer(times)?;
        let at_most = if times == 0 {
            usize::MAX
        } else {
            usize::try_from(times.unsigned_abs()).expect("64 bit")
        };
        let removed = match self.get_mut(key) {
            None => 0,
            Some(Value::List(items)) => {
                let mut places: Vec<usize> = (0..items.len()).filter(|&place| items[place] == gone).collect();
                if times < 0 {
                    places.reverse();
                }
                places.truncate(at_most);
                places.sort_unstable();
                for place in places.iter().rev() {
                    items.remove(*place);
                }
                places.len()
            }
            Some(_) => return Err(WRONG_TYPE),
        };
        self.forget_if_empty(key);
        Ok(count(removed))
    }
}
