//! The directory in Redis: the product's scripts.

use super::{Planted, Session};
use crate::kernel::{MS, Micros, SECOND};
use crate::keyspace::{Keyspace, Reply};
use crate::scripts::Scripts;

/// Some day in 2030, in microseconds.
const BEGINNING: u64 = 1_900_000_000_000_000;

/// `Times::for_sessions_of`.
const OPENING: Micros = 90 * SECOND;
const ANNOUNCED: Micros = 30 * SECOND;
const KEPT: Micros = 15_000 * SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Claim,
    Settle,
    End,
    Announce,
    /// A plain look at what is known.
    Find,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub script: Script,
    pub session: Session,
    pub tenant: usize,
    pub home: String,
    pub most: [usize; 2],
}

pub struct Store {
    keyspace: Keyspace,
    scripts: Scripts,
    planted: Option<Planted>,
}

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../../src/sandbox/directory/scripts/", $name, ".lua"))
    };
}

impl Store {
    pub fn new(planted: Option<Planted>) -> Self {
        Self {
            keyspace: Keyspace::default(),
            scripts: Scripts::new(),
            planted,
        }
    }

    pub fn forget(&mut self) {
        self.keyspace = Keyspace::default();
    }

    /// Stands for `RedisDirectory`, which puts keys and arguments together.
    pub fn run(&mut self, now: Micros, asked: &Asked) -> Result<Vec<String>, String> {
        self.keyspace.set_now(BEGINNING + now);
        let Asked {
            session,
            tenant,
            home,
            ..
        } = asked;
        let id = format!("mcp-sbx-{session}");
        let keys = [
            format!("s:{id}"),
            "all".to_owned(),
            format!("t:{tenant}"),
            format!("o:{tenant}"),
        ];
        let keys: Vec<_> = keys
            .iter()
            .map(|key| format!("{{sim:sandbox}}:{key}").into_bytes())
            .collect();
        let (opening, announced, kept) = (OPENING / MS, ANNOUNCED / MS, KEPT / MS);
        let [in_all, of_tenant] = asked.most;
        let record = "{}".to_owned();
        let (source, args) = match asked.script {
            Script::Claim => {
                let numbers =
                    [opening, kept, in_all as u64, of_tenant as u64].map(|number| number.to_string());
                (
                    script!("claim"),
                    [vec![id, record, home.clone()], numbers.to_vec()].concat(),
                )
            }
            Script::Settle => (
                script!("settle"),
                vec![id, record, home.clone(), announced.to_string(), kept.to_string()],
            ),
            Script::Announce => (
                script!("announce"),
                vec![id, record, home.clone(), announced.to_string(), kept.to_string()],
            ),
            Script::End => (script!("end"), vec![id, record, home.clone(), kept.to_string()]),
            Script::Find => return self.find(&keys[0]),
        };
        let args: Vec<_> = args.into_iter().map(String::into_bytes).collect();
        let source = match (self.planted, asked.script) {
            (Some(Planted::NoCount), Script::Claim) => source.replace("tonumber(ARGV[6])", "1000000"),
            (Some(Planted::NothingIsUnwanted), Script::Announce) => source.replace("return 0", "return 1"),
            _ => source.to_owned(),
        };
        let reply = self
            .scripts
            .run(&mut self.keyspace, &source, &keys, &args)
            .map_err(|broken| broken.0)?;
        Ok(words(&reply))
    }

    fn find(&mut self, key: &[u8]) -> Result<Vec<String>, String> {
        let found = self.keyspace.command(&[b"HMGET", key, b"state", b"home"]);
        found
            .map(|reply| words(&reply))
            .map_err(|refused| format!("{refused:?}"))
    }

    /// Whether it takes a place.
    pub fn counts(&mut self, now: Micros, session: Session) -> bool {
        self.keyspace.set_now(BEGINNING + now);
        let id = format!("mcp-sbx-{session}");
        let until = self
            .keyspace
            .command(&[b"ZSCORE", b"{sim:sandbox}:all", id.as_bytes()]);
        let until = until.map(|reply| words(&reply)).unwrap_or_default();
        until
            .first()
            .and_then(|until| until.parse().ok())
            .is_some_and(|until: u64| until > (BEGINNING + now) / MS)
    }

    pub fn is_open(&mut self, now: Micros, session: Session) -> bool {
        self.keyspace.set_now(BEGINNING + now);
        let key = format!("{{sim:sandbox}}:s:mcp-sbx-{session}").into_bytes();
        self.find(&key).is_ok_and(|words| words[0] == "open")
    }
}

fn words(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(items) => items.iter().flat_map(words).collect(),
        Reply::Bulk(bytes) => vec![String::from_utf8(bytes.clone()).unwrap()],
        Reply::Int(number) => vec![number.to_string()],
        Reply::Nil => vec![String::new()],
        other => panic!("no script of the directory answers {other:?}"),
    }
}
