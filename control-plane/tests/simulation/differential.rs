//! The simulated Redis against a real one: the same commands and scripts to both, and the same answers of both.
//!
//! Needs `TEST_REDIS_URL`, which `scripts/test` sets: a Redis that only tests use.

use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use proptest::prelude::*;
use redis::{Client, Connection, ConnectionLike as _, Value};

use crate::keyspace::{Keyspace, Refused, Reply};
use crate::scripts::Scripts;

/// Runs commands that come as arguments, each after the number of its words. An error is told as a word: the client takes one
/// for the end of all.
const EACH: &str = "
local answers = {}
local at = 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  local answer = redis.pcall(unpack(ARGV, at + 1, at + words))
  if type(answer) == 'table' and answer.err then answer = 'refused' end
  answers[#answers + 1] = answer
  at = at + words + 1
end
return answers";

/// What crosses between Lua and Redis other than as a string.
const CONVERSIONS: &str = "
redis.call('ZADD', KEYS[1], 1763913600123.25, 'a', 0.1, 'b', 1763913600123456, 'c')
redis.call('HSET', KEYS[2], 'n', 5, 'f', 1/3, 'm', -0.5, 'big', 2^53)
return {
  1.9, -1.9, 3, '4', true,
  tostring(1763913600123456), tostring(0.1), 1763913600123 .. '',
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
  redis.call('HMGET', KEYS[2], 'n', 'f', 'm', 'big', 'none'),
  redis.call('GET', KEYS[3]), redis.call('GET', KEYS[3]) == false,
  redis.call('SET', KEYS[3], 'x')['ok'], redis.call('EXISTS', KEYS[3]) + 1,
  {}, {{1}, {'2'}}, redis.status_reply('FINE'),
  false, nil, 'never seen'
}";

pub fn real() -> Connection {
    let url = std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL names a Redis that only tests use");
    Client::open(url).unwrap().get_connection().unwrap()
}

/// What a real Redis answered, in our words.
pub fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::Okay => Reply::ok(),
        Value::SimpleString(text) => Reply::Status(text),
        Value::BulkString(bytes) => Reply::Bulk(bytes),
        Value::Array(items) => Reply::Array(items.into_iter().map(reply).collect()),
        Value::ServerError(error) => Reply::Error(error.code().to_owned()),
        other => panic!("RESP2 has no {other:?}"),
    }
}

type Command = Vec<Vec<u8>>;

fn on_real(connection: &mut Connection, command: &Command) -> Reply {
    let mut packed = redis::cmd(std::str::from_utf8(&command[0]).unwrap());
    for word in &command[1..] {
        packed.arg(word);
    }
    match connection.req_command(&packed) {
        Ok(value) => reply(value),
        Err(error) => Reply::Error(error.code().unwrap_or("ERR").to_owned()),
    }
}

fn on_simulated(keyspace: &mut Keyspace, command: &Command) -> Reply {
    keyspace.set_now(now());
    let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    match keyspace.command(&words) {
        Ok(reply) => reply,
        Err(Refused::AsRedisDoes(code)) => Reply::Error(code.to_owned()),
        Err(Refused::Unknown(command)) => panic!("unknown: {command}"),
    }
}

fn now() -> u64 {
    u64::try_from(SystemClock.now().timestamp_micros()).unwrap()
}

/// Sorts what has no order, and takes times to live for equal when a slow machine explains the difference.
fn comparable(command: &Command, reply: Reply) -> Reply {
    let name = String::from_utf8(command[0].clone()).unwrap();
    match (name.as_str(), reply) {
        ("HKEYS" | "HVALS" | "SMEMBERS", Reply::Array(mut items)) => {
            items.sort();
            Reply::Array(items)
        }
        ("HGETALL", Reply::Array(items)) => {
            let mut pairs: Vec<_> = items.chunks(2).map(<[Reply]>::to_vec).collect();
            pairs.sort();
            Reply::Array(pairs.into_iter().flatten().collect())
        }
        ("TTL", Reply::Int(seconds)) if seconds > 0 => Reply::Int((seconds + 50) / 100),
        ("PTTL", Reply::Int(ms)) if ms > 0 => Reply::Int((ms + 50_000) / 100_000),
        // Where several things are wrong, which of them Redis names is nobody's business here.
        (_, Reply::Error(_)) => Reply::Error("refused".to_owned()),
        (_, reply) => reply,
    }
}

fn key() -> impl Strategy<Value = String> {
    // Few, so that commands meet; each kind has some of its own, so that most commands fit.
    prop_oneof![4 => "[a-d]", 1 => Just("e".to_owned())]
}

fn member() -> impl Strategy<Value = String> {
    "[mnop]"
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3i64..9).prop_map(|number| number.to_string()),
        (-40i32..80).prop_map(|eighth| (f64::from(eighth) / 8.0).to_string()),
        Just("1763913600123".to_owned()),
        Just("1763913600123456".to_owned()),
        Just("0.1".to_owned()),
        Just("inf".to_owned()),
        Just("no".to_owned()),
    ]
}

fn bound() -> impl Strategy<Value = String> {
    (
        any::<bool>(),
        prop_oneof![3 => number(), 1 => Just("-inf".to_owned()), 1 => Just("+inf".to_owned())],
    )
        .prop_map(|(open, number)| if open { format!("({number}") } else { number })
}

fn rank() -> impl Strategy<Value = String> {
    (-4i32..5).prop_map(|rank| rank.to_string())
}

/// Hundreds of seconds, so that nothing expires while both are asked; or a past that ends the key at once.
fn seconds() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u32..9).prop_map(|number| (number * 100).to_string()),
        Just("0".to_owned()),
        Just("-5".to_owned())
    ]
}

/// One of these words, or none.
fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 2 => proptest::sample::select(words).prop_map(str::to_owned)]
}

fn words<T: IntoIterator<Item = String>>(name: &str, rest: T) -> Vec<String> {
    let rest = rest.into_iter().filter(|word| !word.is_empty());
    std::iter::once(name.to_owned()).chain(rest).collect()
}

fn on_sorted_sets() -> impl Strategy<Value = Vec<String>> {
    let zadd = (
        key(),
        maybe(&["NX", "XX", "GT", "LT"]),
        maybe(&["CH"]),
        number(),
        member(),
        number(),
        member(),
    );
    let range = (
        key(),
        bound(),
        bound(),
        maybe(&["WITHSCORES"]),
        any::<bool>(),
        rank(),
        rank(),
    );
    prop_oneof![
        4 => zadd.prop_map(|(k, a, b, s1, m1, s2, m2)| words("ZADD", [k, a, b, s1, m1, s2, m2])),
        1 => (key(), number(), member()).prop_map(|(k, s, m)| words("ZINCRBY", [k, s, m])),
        1 => (key(), member(), member()).prop_map(|(k, a, b)| words("ZREM", [k, a, b])),
        1 => key().prop_map(|k| words("ZCARD", [k])),
        1 => (key(), bound(), bound()).prop_map(|(k, a, b)| words("ZCOUNT", [k, a, b])),
        1 => (key(), member()).prop_map(|(k, m)| words("ZSCORE", [k, m])),
        1 => (key(), member(), member()).prop_map(|(k, a, b)| words("ZMSCORE", [k, a, b])),
        1 => (key(), member()).prop_map(|(k, m)| words("ZRANK", [k, m])),
        1 => (key(), rank(), rank(), maybe(&["REV"]), maybe(&["WITHSCORES"]))
            .prop_map(|(k, a, b, r, w)| words("ZRANGE", [k, a, b, r, w])),
        1 => (key(), rank(), rank(), maybe(&["WITHSCORES"])).prop_map(|(k, a, b, w)| words("ZREVRANGE", [k, a, b, w])),
        2 => range.prop_map(|(k, a, b, w, limit, skip, most)| {
            let limit = if limit { ["LIMIT".to_owned(), skip, most] } else { Default::default() };
            words("ZRANGEBYSCORE", [k, a, b, w].into_iter().chain(limit))
        }),
        1 => (key(), bound(), bound(), maybe(&["REV"])).prop_map(|(k, a, b, r)| words("ZRANGE", [k, a, b, "BYSCORE".to_owned(), r])),
        1 => (key(), bound(), bound()).prop_map(|(k, a, b)| words("ZREMRANGEBYSCORE", [k, a, b])),
        1 => (key(), rank(), rank()).prop_map(|(k, a, b)| words("ZREMRANGEBYRANK", [k, a, b])),
        1 => key().prop_map(|k| words("ZPOPMIN", [k])),
    ]
}

fn on_hashes_and_sets() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        3 => (key(), member(), number(), member(), number()).prop_map(|(k, f, v, g, w)| words("HSET", [k, f, v, g, w])),
        1 => (key(), member(), number()).prop_map(|(k, f, v)| words("HSETNX", [k, f, v])),
        1 => (key(), member(), number()).prop_map(|(k, f, v)| words("HMSET", [k, f, v])),
        2 => (key(), member(), number()).prop_map(|(k, f, v)| words("HINCRBY", [k, f, v])),
        1 => (key(), member(), member()).prop_map(|(k, f, g)| words("HDEL", [k, f, g])),
        1 => (key(), member(), member()).prop_map(|(k, f, g)| words("HMGET", [k, f, g])),
        1 => (key(), member()).prop_map(|(k, f)| words("HGET", [k, f])),
        1 => (key(), member()).prop_map(|(k, f)| words("HEXISTS", [k, f])),
        1 => (proptest::sample::select(&["HLEN", "HGETALL", "HKEYS", "HVALS"][..]), key()).prop_map(|(c, k)| words(c, [k])),
        2 => (key(), member(), member()).prop_map(|(k, f, g)| words("SADD", [k, f, g])),
        1 => (key(), member()).prop_map(|(k, f)| words("SREM", [k, f])),
        1 => (key(), member()).prop_map(|(k, f)| words("SISMEMBER", [k, f])),
        1 => (proptest::sample::select(&["SCARD", "SMEMBERS"][..]), key()).prop_map(|(c, k)| words(c, [k])),
    ]
}

fn on_strings_and_lists() -> impl Strategy<Value = Vec<String>> {
    let set = (
        key(),
        number(),
        maybe(&["NX", "XX"]),
        maybe(&["GET"]),
        prop_oneof![seconds(), Just("-".to_owned()), Just("K".to_owned())],
    );
    prop_oneof![
        3 => set.prop_map(|(k, v, n, g, life)| {
            let life = match life.as_str() {
                "-" => vec![],
                "K" => vec!["KEEPTTL".to_owned()],
                _ => vec!["EX".to_owned(), life],
            };
            words("SET", [k, v, n, g].into_iter().chain(life))
        }),
        1 => (key(), proptest::sample::select(&["GET", "INCR", "DECR"][..])).prop_map(|(k, c)| words(c, [k])),
        1 => (key(), number(), proptest::sample::select(&["INCRBY", "DECRBY"][..])).prop_map(|(k, n, c)| words(c, [k, n])),
        1 => (key(), key()).prop_map(|(a, b)| words("MGET", [a, b])),
        2 => (key(), member(), member(), proptest::sample::select(&["LPUSH", "RPUSH"][..])).prop_map(|(k, a, b, c)| words(c, [k, a, b])),
        1 => (key(), proptest::sample::select(&["LPOP", "RPOP", "LLEN"][..])).prop_map(|(k, c)| words(c, [k])),
        1 => (key(), rank(), rank()).prop_map(|(k, a, b)| words("LRANGE", [k, a, b])),
        1 => (key(), rank(), rank()).prop_map(|(k, a, b)| words("LTRIM", [k, a, b])),
        1 => (key(), rank()).prop_map(|(k, a)| words("LINDEX", [k, a])),
        1 => (key(), rank(), member()).prop_map(|(k, a, m)| words("LREM", [k, a, m])),
    ]
}

fn on_keys() -> impl Strategy<Value = Vec<String>> {
    let expire = (key(), seconds(), maybe(&["NX", "XX", "GT", "LT"]));
    prop_oneof![
        2 => (key(), key(), proptest::sample::select(&["DEL", "UNLINK", "EXISTS"][..])).prop_map(|(a, b, c)| words(c, [a, b])),
        2 => (key(), proptest::sample::select(&["TYPE", "TTL", "PTTL", "PERSIST"][..])).prop_map(|(k, c)| words(c, [k])),
        2 => expire.prop_map(|(k, s, o)| words("EXPIRE", [k, s, o])),
        1 => (key(), seconds()).prop_map(|(k, s)| words("PEXPIRE", [k, if s.starts_with('-') { s } else { format!("{s}000") }])),
        1 => (key(), proptest::sample::select(&["1", "4102444800"][..])).prop_map(|(k, s)| words("EXPIREAT", [k, s.to_owned()])),
        1 => (key(), proptest::sample::select(&["1", "4102444800000"][..])).prop_map(|(k, s)| words("PEXPIREAT", [k, s.to_owned()])),
    ]
}

/// Where all have one score, as a range by bytes asks for.
fn by_bytes() -> impl Strategy<Value = Vec<String>> {
    let end = || {
        prop_oneof![
            "[(\\[][a-d]",
            Just("-".to_owned()),
            Just("+".to_owned()),
            Just("x".to_owned())
        ]
    };
    let key = || Just("f".to_owned());
    let range = (key(), end(), end(), any::<bool>(), rank(), rank());
    prop_oneof![
        2 => (key(), "[a-d]{1,2}").prop_map(|(k, m)| words("ZADD", [k, "0".to_owned(), m])),
        2 => (proptest::sample::select(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"][..]), range).prop_map(|(c, (k, a, b, limit, skip, most))| {
            let limit = if limit { ["LIMIT".to_owned(), skip, most] } else { Default::default() };
            words(c, [k, a, b].into_iter().chain(limit))
        }),
    ]
}

fn commands() -> impl Strategy<Value = Vec<Vec<String>>> {
    let one = prop_oneof![
        3 => on_sorted_sets(),
        1 => by_bytes(),
        2 => on_hashes_and_sets(),
        2 => on_strings_and_lists(),
        2 => on_keys(),
    ];
    proptest::collection::vec(one, 1..60)
}

/// The commands with each key under a prefix of this case.
fn prefixed(commands: &[Vec<String>], prefix: &str) -> Vec<Command> {
    let is_key = |command: &[String], at: usize| {
        at == 1 || at > 0 && ["DEL", "UNLINK", "EXISTS", "MGET"].contains(&command[0].as_str())
    };
    let place = |command: &Vec<String>| {
        let words = command.iter().enumerate().map(|(at, word)| {
            if is_key(command, at) {
                format!("{prefix}{word}")
            } else {
                word.clone()
            }
        });
        words.map(String::into_bytes).collect()
    };
    commands.iter().map(place).collect()
}

fn keys_of(prefix: &str) -> Vec<Vec<u8>> {
    ["a", "b", "c", "d", "e", "f"]
        .iter()
        .map(|key| format!("{prefix}{key}").into_bytes())
        .collect()
}

/// A prefix that nothing else in that Redis has, whose keys are removed in the end.
struct Place {
    connection: Connection,
    prefix: String,
}

impl Place {
    fn new() -> Self {
        let prefix = format!("{{{}}}", dynamic_mcp_shared::ids::JobId::generate());
        Self {
            connection: real(),
            prefix,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut delete = redis::cmd("DEL");
        delete.arg(keys_of(&self.prefix));
        let _gone = self.connection.req_command(&delete);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_command_is_answered_as_a_real_redis_does(commands in commands()) {
        let mut place = Place::new();
        let mut keyspace = Keyspace::default();
        for command in prefixed(&commands, &place.prefix) {
            let simulated = comparable(&command, on_simulated(&mut keyspace, &command));
            let real = comparable(&command, on_real(&mut place.connection, &command));
            let text = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(simulated, real, "{}", text);
        }
    }

    #[test]
    fn a_script_gets_the_same_answers_as_in_a_real_redis(commands in commands()) {
        let mut place = Place::new();
        let commands = prefixed(&commands, &place.prefix);
        let mut args = Vec::new();
        for command in &commands {
            args.push(command.len().to_string().into_bytes());
            args.extend(command.iter().cloned());
        }
        let mut keyspace = Keyspace::default();
        keyspace.set_now(now());
        let keys = keys_of(&place.prefix);
        let simulated = Scripts::new().run(&mut keyspace, EACH, &keys, &args).unwrap();
        let script = redis::Script::new(EACH);
        let mut invocation = script.prepare_invoke();
        keys.iter().for_each(|key| { invocation.key(key); });
        args.iter().for_each(|arg| { invocation.arg(arg); });
        let real = reply(invocation.invoke(&mut place.connection).unwrap());
        let (Reply::Array(simulated), Reply::Array(real)) = (simulated, real) else {
            panic!("a script of commands answers a list")
        };
        prop_assert_eq!(simulated.len(), real.len());
        for ((command, simulated), real) in commands.iter().zip(simulated).zip(real) {
            prop_assert_eq!(comparable(command, simulated), comparable(command, real));
        }
    }
}

#[test]
fn values_cross_between_lua_and_redis_as_in_a_real_one() {
    let mut place = Place::new();
    let keys = keys_of(&place.prefix);
    let simulated = Scripts::new()
        .run(&mut Keyspace::default(), CONVERSIONS, &keys, &[])
        .unwrap();
    let script = redis::Script::new(CONVERSIONS);
    let mut invocation = script.prepare_invoke();
    keys.iter().for_each(|key| {
        invocation.key(key);
    });
    assert_eq!(
        simulated,
        reply(invocation.invoke(&mut place.connection).unwrap())
    );
}

#[test]
fn a_script_may_touch_only_the_keys_that_it_was_given() {
    let stray = Scripts::new().run(
        &mut Keyspace::default(),
        "return redis.call('GET', 'other')",
        &[],
        &[],
    );
    assert!(stray.unwrap_err().0.contains("other"));
}

#[test]
fn a_script_that_sets_a_global_or_reads_one_that_is_not_there_is_broken() {
    for source in ["found = 1", "return found", "return os.time()"] {
        assert!(
            Scripts::new()
                .run(&mut Keyspace::default(), source, &[], &[])
                .is_err(),
            "{source}"
        );
    }
}
