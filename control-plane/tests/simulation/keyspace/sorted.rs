//! Commands on sorted sets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::numbers::{float, integer, shortest_of_17_digits};
use super::{Answer, Args, ERR, Keyspace, Refused, Reply, Value, WRONG_TYPE, count, unknown};

/// Members by score, and those of one score by their bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sorted {
    scores: BTreeMap<Vec<u8>, Score>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

/// Never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.partial_cmp(&other.0).expect("a score is a number")
    }
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).map(|score| score.0)
    }

    fn put(&mut self, member: &[u8], score: f64) {
        self.take(member);
        self.scores.insert(member.to_vec(), Score(score));
        self.order.insert((Score(score), member.to_vec()));
    }

    fn take(&mut self, member: &[u8]) -> bool {
        match self.scores.remove(member) {
            None => false,
            Some(score) => self.order.remove(&(score, member.to_vec())),
        }
    }

    fn within(&self, from: Bound, to: Bound) -> impl DoubleEndedIterator<Item = &(Score, Vec<u8>)> {
        self.order
            .range((Score(from.score), Vec::new())..)
            .skip_while(move |(score, _)| from.is_open && score.0 == from.score)
            .take_while(move |(score, _)| score.0 < to.score || !to.is_open && score.0 == to.score)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// One end of a range of scores.
#[derive(Clone, Copy)]
struct Bound {
    score: f64,
    is_open: bool,
}

impl Bound {
    fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let (is_open, number) = match bytes {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        let score = float(number)?;
        Ok(Self { score, is_open })
    }
}

/// One end of a range of members by their bytes.
enum End {
    First,
    Last,
    With(Vec<u8>),
    Without(Vec<u8>),
}

impl End {
    fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        match bytes {
            b"-" => Ok(End::First),
            b"+" => Ok(End::Last),
            [b'[', member @ ..] => Ok(End::With(member.to_vec())),
            [b'(', member @ ..] => Ok(End::Without(member.to_vec())),
            _ => Err(ERR),
        }
    }

    fn is_at_or_below(&self, other: &[u8]) -> bool {
        match self {
            End::First => true,
            End::Last => false,
            End::With(member) => member.as_slice() <= other,
            End::Without(member) => member.as_slice() < other,
        }
    }

    fn is_at_or_above(&self, other: &[u8]) -> bool {
        match self {
            End::First => false,
            End::Last => true,
            End::With(member) => member.as_slice() >= other,
            End::Without(member) => member.as_slice() > other,
        }
    }
}

/// What a rank range, in which negative numbers count from the end, means for so many.
pub(super) fn by_rank(from: i64, to: i64, length: usize) -> Range<usize> {
    let length = i64::try_from(length).expect("fewer than 2^63");
    let from_start = |rank: i64| {
        if rank < 0 {
            rank.saturating_add(length)
        } else {
            rank
        }
    };
    let from = from_start(from).max(0);
    let end = from_start(to).saturating_add(1).min(length);
    if from >= end {
        return 0..0;
    }
    let place = |rank: i64| usize::try_from(rank).expect("it is not negative");
    place(from)..place(end)
}

#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reversed: bool,
    with_scores: bool,
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn parse(mut rest: Args<'_>) -> Result<Self, Refused> {
        let mut options = Self::default();
        while let [option, after @ ..] = rest {
            let option = String::from_utf8_lossy(option).to_ascii_uppercase();
            rest = match (option.as_str(), after) {
                ("BYSCORE", after) => {
                    options.by_score = true;
                    after
                }
                ("REV", after) => {
                    options.reversed = true;
                    after
                }
                ("WITHSCORES", after) => {
                    options.with_scores = true;
                    after
                }
                ("LIMIT", [skip, most, after @ ..]) => {
                    options.limit = Some((integer(skip)?, integer(most)?));
                    after
                }
                _ => return Err(Refused::Unknown(format!("ZRANGE … {option}"))),
            };
        }
        Ok(options)
    }
}

impl Keyspace {
    pub(super) fn sorted(&mut self, name: &str, args: Args<'_>) -> Option<Answer> {
        Some(match (name, args) {
            ("ZADD", [key, rest @ ..]) => self.zadd(key, rest),
            ("ZINCRBY", [key, by, member]) => float(by).and_then(|by| {
                self.change_sorted(key, |set| {
                    let score = set.score(member).unwrap_or(0.0) + by;
                    if score.is_nan() {
                        return Err(ERR);
                    }
                    set.put(member, score);
                    Ok(written(score))
                })
            }),
            ("ZREM", [key, gone @ ..]) if !gone.is_empty() => self.change_sorted(key, |set| {
                Ok(count(gone.iter().filter(|member| set.take(member)).count()))
            }),
            ("ZCARD", [key]) => self.look_at_sorted(key, |set| Ok(count(set.len()))),
            ("ZSCORE", [key, member]) => {
                self.look_at_sorted(key, |set| Ok(set.score(member).map_or(Reply::Nil, written)))
            }
            ("ZMSCORE", [key, wanted @ ..]) if !wanted.is_empty() => self.look_at_sorted(key, |set| {
                let scores = wanted
                    .iter()
                    .map(|member| set.score(member).map_or(Reply::Nil, written));
                Ok(Reply::Array(scores.collect()))
            }),
            ("ZRANK", [key, member]) => self.look_at_sorted(key, |set| {
                let place = set.order.iter().position(|(_, other)| other == member);
                Ok(place.map_or(Reply::Nil, count))
            }),
            ("ZCOUNT", [key, from, to]) => {
                let (from, to) = match (Bound::parse(from), Bound::parse(to)) {
                    (Ok(from), Ok(to)) => (from, to),
                    _ => return Some(Err(ERR)),
                };
                self.look_at_sorted(key, |set| Ok(count(set.within(from, to).count())))
            }
            ("ZRANGE", [key, from, to, options @ ..]) => {
                RangeOptions::parse(options).and_then(|options| self.zrange(key, from, to, &options))
            }
            ("ZRANGEBYSCORE", [key, from, to, options @ ..]) => {
                RangeOptions::parse(options).and_then(|options| {
                    let options = RangeOptions {
                        by_score: true,
                        ..options
                    };
                    self.zrange(key, from, to, &options)
                })
            }
            ("ZRANGEBYLEX", [key, from, to, limit @ ..]) => self.by_bytes(key, from, to, limit, false),
            ("ZREVRANGEBYLEX", [key, to, from, limit @ ..]) => self.by_bytes(key, from, to, limit, true),
            ("ZREVRANGE", [key, from, to, options @ ..]) => {
                RangeOptions::parse(options).and_then(|options| {
                    let options = RangeOptions {
                        reversed: true,
                        ..options
                    };
                    self.zrange(key, from, to, &options)
                })
            }
            ("ZREMRANGEBYSCORE", [key, from, to]) => match (Bound::parse(from), Bound::parse(to)) {
                (Ok(from), Ok(to)) => self.change_sorted(key, |set| {
                    let gone: Vec<_> = set.within(from, to).map(|(_, member)| member.clone()).collect();
                    gone.iter().for_each(|member| {
                        set.take(member);
                    });
                    Ok(count(gone.len()))
                }),
                _ => Err(ERR),
            },
            ("ZREMRANGEBYRANK", [key, from, to]) => match (integer(from), integer(to)) {
                (Ok(from), Ok(to)) => self.change_sorted(key, |set| {
                    let places = by_rank(from, to, set.len());
                    let gone: Vec<_> = set
                        .order
                        .iter()
                        .skip(places.start)
                        .take(places.len())
                        .cloned()
                        .collect();
                    gone.iter().for_each(|(_, member)| {
                        set.take(member);
                    });
                    Ok(count(gone.len()))
                }),
                _ => Err(ERR),
            },
            ("ZPOPMIN", [key]) => self.change_sorted(key, |set| {
                let first = set.order.first().cloned();
                Ok(Reply::Array(first.map_or_else(Vec::new, |(score, member)| {
                    set.take(&member);
                    vec![Reply::Bulk(member), written(score.0)]
                })))
            }),
            _ => return None,
        })
    }

    fn zadd(&mut self, key: &[u8], rest: Args<'_>) -> Answer {
        let (mut only_new, mut only_old, mut only_above, mut only_below, mut count_changed) =
            (false, false, false, false, false);
        let mut pairs = rest;
        while let [option, after @ ..] = pairs {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => only_new = true,
                b"XX" => only_old = true,
                b"GT" => only_above = true,
                b"LT" => only_below = true,
                b"CH" => count_changed = true,
                b"INCR" => return unknown("ZADD", rest),
                _ => break,
            }
            pairs = after;
        }
        if pairs.is_empty() || pairs.len() % 2 == 1 || only_new && (only_old || only_above || only_below) {
            return Err(ERR);
        }
        if only_above && only_below {
            return Err(ERR);
        }
        let pairs: Vec<_> = pairs
            .chunks_exact(2)
            .map(|pair| float(pair[0]).map(|score| (score, pair[1])))
            .collect::<Result<_, _>>()?;
        self.change_sorted(key, |set| {
            let (mut added, mut changed) = (0, 0);
            for (score, member) in pairs {
                match set.score(member) {
                    None if only_old => {}
                    None => {
                        set.put(member, score);
                        added += 1;
                    }
                    Some(old) => {
                        let kept = only_new || only_above && score <= old || only_below && score >= old;
                        if !kept && score != old {
                            set.put(member, score);
                            changed += 1;
                        }
                    }
                }
            }
            Ok(count(if count_changed { added + changed } else { added }))
        })
    }

    fn zrange(&mut self, key: &[u8], from: &[u8], to: &[u8], options: &RangeOptions) -> Answer {
        let limit = match options.limit {
            Some(_) if !options.by_score => return Err(ERR),
            // A negative count means all.
            Some((skip, most)) => (
                usize::try_from(skip).ok(),
                usize::try_from(most).unwrap_or(usize::MAX),
            ),
            None => (Some(0), usize::MAX),
        };
        let range = if options.by_score {
            // A range from the greatest down names the greatest first.
            let (from, to) = if options.reversed { (to, from) } else { (from, to) };
            Ok((Bound::parse(from)?, Bound::parse(to)?))
        } else {
            Err((integer(from)?, integer(to)?))
        };
        self.look_at_sorted(key, |set| {
            let mut members: Vec<_> = match range {
                Ok((from, to)) => set.within(from, to).collect(),
                Err(_) => set.order.iter().collect(),
            };
            if options.reversed {
                members.reverse();
            }
            if let Err((from, to)) = range {
                members = members[by_rank(from, to, members.len())].to_vec();
            }
            let (skip, most) = limit;
            let Some(skip) = skip else {
                return Ok(Reply::Array(Vec::new()));
            };
            let mut reply = Vec::new();
            for (score, member) in members.into_iter().skip(skip).take(most) {
                reply.push(Reply::Bulk(member.clone()));
                if options.with_scores {
                    reply.push(written(score.0));
                }
            }
            Ok(Reply::Array(reply))
        })
    }

    /// Means something only where all have one score.
    fn by_bytes(&mut self, key: &[u8], from: &[u8], to: &[u8], limit: Args<'_>, reversed: bool) -> Answer {
        let (from, to) = (End::parse(from)?, End::parse(to)?);
        let (skip, most) = match RangeOptions::parse(limit)?.limit {
            Some((skip, most)) => (
                usize::try_from(skip).ok(),
                usize::try_from(most).unwrap_or(usize::MAX),
            ),
            None => (Some(0), usize::MAX),
        };
        self.look_at_sorted(key, |set| {
            let within = set.order.iter().map(|(_, member)| member);
            let mut members: Vec<_> = within
                .filter(|member| from.is_at_or_below(member) && to.is_at_or_above(member))
                .collect();
            if reversed {
                members.reverse();
            }
            let skip = skip.unwrap_or(usize::MAX);
            let members = members.into_iter().skip(skip).take(most);
            Ok(Reply::Array(
                members.map(|member| Reply::Bulk(member.clone())).collect(),
            ))
        })
    }

    fn look_at_sorted(&mut self, key: &[u8], answer: impl FnOnce(&Sorted) -> Answer) -> Answer {
        match self.get(key) {
            None => answer(&Sorted::default()),
            Some(Value::Sorted(set)) => answer(set),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn change_sorted(&mut self, key: &[u8], change: impl FnOnce(&mut Sorted) -> Answer) -> Answer {
        let answer = match self.get_or_make(key, || Value::Sorted(Sorted::default())) {
            Value::Sorted(set) => change(set),
            _ => Err(WRONG_TYPE),
        };
        self.forget_if_empty(key);
        answer
    }
}

fn written(score: f64) -> Reply {
    Reply::Bulk(shortest_of_17_digits(score).into_bytes())
}
