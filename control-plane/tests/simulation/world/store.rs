//! The Redis that all share: the product's scripts on a keyspace, and how it can fail.

use super::guard::sign_ms;
use super::{Event, World};
use crate::kernel::{MS, Micros};
use crate::keyspace::{Keyspace, Reply};
use crate::network::Place;
use crate::plan::{Plan, Planted};
use crate::scripts::Scripts;

/// What the clock of Redis shows when the simulation begins, in microseconds: some day in 2030.
const BEGINNING: u64 = 1_900_000_000_000_000;
/// In percent.
const PUBLISHED_IS_LOST: u32 = 5;

macro_rules! script {
    ($($part:literal),+) => {
        concat!($(include_str!(concat!("../../../src/guard/redis/scripts/", $part, ".lua")), "\n"),+)
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Take,
    Begin,
    GiveBack,
    Poll,
    Renew,
}

impl Script {
    /// As it is in the tree.
    fn source(self) -> &'static str {
        match self {
            Script::Take => script!("slots", "windows", "counts", "take"),
            Script::Begin => script!("slots", "windows", "counts", "begin"),
            Script::GiveBack => script!("slots", "counts", "give_back"),
            Script::Poll => script!("slots", "poll"),
            Script::Renew => script!("slots", "renew"),
        }
    }
}

/// A script with what it takes, as `guard::redis::store` puts it together.
#[derive(Debug, Clone)]
pub struct Ask {
    pub script: Script,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

pub const SLOT_KEYS: [&str; 5] = ["meta", "leases", "lanes", "queue", "waiting"];

impl Ask {
    pub fn new(script: Script, epoch: &str, plan: &Plan) -> Self {
        let ask = Self {
            script,
            keys: SLOT_KEYS.iter().map(|name| key(name)).collect(),
            args: Vec::new(),
        };
        ask.arg(epoch)
            .arg(plan.limit)
            .arg(sign_ms())
            .arg("told:")
            .arg(3_600_000)
    }

    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string().into_bytes());
        self
    }

    fn key(mut self, name: &str) -> Self {
        self.keys.push(key(name));
        self
    }

    pub fn windows(self, tenant: usize) -> Self {
        self.key(&format!("begun:t{tenant}:run"))
            .key(&format!("held:t{tenant}:run"))
            .key(&format!("begun:t{tenant}"))
            .key(&format!("held:t{tenant}"))
            .key(&format!("counts:t{tenant}"))
            .key(&format!("scopes:t{tenant}"))
    }

    pub fn held(self, tenant: usize) -> Self {
        self.key(&format!("held:t{tenant}:run"))
            .key(&format!("held:t{tenant}"))
            .key(&format!("counts:t{tenant}"))
            .key(&format!("scopes:t{tenant}"))
    }

    pub fn replicas(self) -> Self {
        self.key("replicas")
    }

    pub fn count_bounds(self) -> Self {
        self.arg(256).arg(86_400_000)
    }
}

pub fn key(name: &str) -> Vec<u8> {
    format!("{{sim:guard}}:{name}").into_bytes()
}

/// On the wires between replicas and Redis.
#[derive(Debug)]
pub enum Words {
    Ask {
        replica: usize,
        life: u32,
        number: u64,
        ask: Ask,
    },
    Answer {
        life: u32,
        number: u64,
        reply: Reply,
    },
    Published {
        life: u32,
        text: String,
    },
}

pub struct Store {
    pub is_up: bool,
    pub keyspace: Keyspace,
    scripts: Scripts,
    /// What a failover would go on with.
    pub copy: Keyspace,
    /// By how much its clock is ahead.
    pub ahead: Micros,
    asks: u64,
    pub runs: u64,
}

impl Store {
    pub fn new() -> Self {
        Self {
            is_up: true,
            keyspace: Keyspace::default(),
            scripts: Scripts::new(),
            copy: Keyspace::default(),
            ahead: 0,
            asks: 0,
            runs: 0,
        }
    }
}

impl World {
    /// Answers the number under which the answer comes, if it comes.
    pub fn ask_redis(&mut self, replica: usize, ask: Ask) -> u64 {
        self.store.asks += 1;
        let number = self.store.asks;
        let life = self.replicas[replica].life;
        self.say(
            Place::Replica(replica),
            Place::Redis,
            Words::Ask {
                replica,
                life,
                number,
                ask,
            },
        );
        number
    }

    fn say(&mut self, from: Place, to: Place, words: Words) {
        self.store_network
            .send(from, to, words, &mut self.kernel, |_, to, words| {
                Event::Said(to, words)
            });
    }

    pub fn said(&mut self, to: Place, words: Words) {
        match (to, words) {
            (
                Place::Redis,
                Words::Ask {
                    replica,
                    life,
                    number,
                    ask,
                },
            ) => {
                if self.store.is_up {
                    let reply = self.runs_script(&ask);
                    self.say(
                        Place::Redis,
                        Place::Replica(replica),
                        Words::Answer { life, number, reply },
                    );
                }
            }
            (Place::Replica(replica), Words::Answer { life, number, reply }) => {
                if self.is_alive(replica, life) {
                    self.guard_is_answered(replica, number, &reply);
                }
            }
            (Place::Replica(replica), Words::Published { life, text }) => {
                if self.is_alive(replica, life) {
                    self.guard_hears(replica, &text);
                }
            }
            _ => unreachable!("nothing else is said"),
        }
    }

    fn is_alive(&self, replica: usize, life: u32) -> bool {
        self.replicas[replica].is_up && self.replicas[replica].life == life
    }

    pub fn runs_script(&mut self, ask: &Ask) -> Reply {
        self.store
            .keyspace
            .set_now(BEGINNING + self.kernel.now() + self.store.ahead);
        self.store.runs += 1;
        let source = planted(self.plan.planted, ask.script.source());
        let ran = self
            .store
            .scripts
            .run(&mut self.store.keyspace, &source, &ask.keys, &ask.args);
        let published = self.store.keyspace.take_published();
        for (channel, text) in &published {
            self.publishes(channel, text);
        }
        let is_refused_as_strange =
            matches!(&ran, Ok(Reply::Array(words)) if words.first() == Some(&Reply::Bulk(b"epoch".to_vec())));
        if self.store.runs.is_multiple_of(self.plan.check_every) && !is_refused_as_strange {
            let tenant_of = |text: &[u8]| {
                let ticket = std::str::from_utf8(text).unwrap().strip_prefix('+')?;
                ticket.split(' ').next().map(str::to_owned)
            };
            let mut handed_to: Vec<_> = published.iter().filter_map(|(_, text)| tenant_of(text)).collect();
            // Who takes may come to wait after the slot was handed out.
            handed_to.retain(|_| ask.script != Script::Take);
            self.check_books(&handed_to);
        }
        match ran {
            Ok(reply) => reply,
            Err(broken) => {
                self.truth.broken(format!("{:?}: {}", ask.script, broken.0));
                Reply::Nil
            }
        }
    }

    /// To who listens at this moment, and to nobody later.
    fn publishes(&mut self, channel: &[u8], text: &[u8]) {
        let channel = std::str::from_utf8(channel).unwrap();
        let text = std::str::from_utf8(text).unwrap().to_owned();
        let named = |name: &str| channel.strip_prefix("told:") == Some(name);
        let listens = self
            .replicas
            .iter()
            .position(|replica| replica.is_up && named(&replica.guard.name));
        let Some(replica) = listens else {
            return;
        };
        let is_cut = self
            .store_network
            .cut_between(Place::Redis, Place::Replica(replica))
            .is_some();
        if !is_cut && !self.kernel.chance(PUBLISHED_IS_LOST) {
            let life = self.replicas[replica].life;
            self.say(
                Place::Redis,
                Place::Replica(replica),
                Words::Published { life, text },
            );
        }
    }

    /// All that it held is gone, and it is not there for a while.
    pub fn redis_dies(&mut self) {
        self.store.is_up = false;
        self.redis_forgets(Keyspace::default());
    }

    /// Another takes its place, to which the last that was written had not come yet.
    pub fn redis_fails_over(&mut self) {
        let copy = self.store.copy.clone();
        self.redis_forgets(copy);
        self.store.ahead += self.kernel.between(0, 300 * MS);
    }

    fn redis_forgets(&mut self, holds: Keyspace) {
        self.store.keyspace = holds;
        self.truth.excuse_excess(self.kernel.now() + self.plan.doubt());
    }
}

fn planted(bug: Option<Planted>, source: &'static str) -> std::borrow::Cow<'static, str> {
    let Some((right, wrong)) = bug.and_then(Planted::in_scripts) else {
        return source.into();
    };
    source.replace(right, wrong).into()
}
