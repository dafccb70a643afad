//! Runs the scripts as they are in the tree, in the Lua that Redis has, against a [`Keyspace`].
//!
//! Stricter than a single Redis in one thing: a script may touch only the keys that it was given, which a cluster asks for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Function, IntoLua, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use crate::keyspace::{Keyspace, Refused, Reply, shortest_of_17_digits};

/// What a script finds beside `redis`, `KEYS` and `ARGV`. Nothing here may answer differently the next time.
const GLOBALS: &[&str] = &[
    "assert", "error", "ipairs", "math", "next", "pairs", "pcall", "select", "string", "table", "tonumber",
    "tostring", "type", "unpack",
];

/// Commands without a key; of all others every argument named here is one.
const WITHOUT_KEYS: &[&str] = &["TIME", "PUBLISH"];
const OF_KEYS_ALONE: &[&str] = &["DEL", "UNLINK", "EXISTS", "MGET"];

/// That a script did what it never should: its own fault, or this simulation's, which knows less than Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

pub struct Scripts {
    lua: Lua,
    environment: Table,
    compiled: HashMap<String, Function>,
    shared: Rc<RefCell<Shared>>,
}

/// What `redis.call` works on while a script runs.
#[derive(Default)]
struct Shared {
    keyspace: Keyspace,
    declared: Vec<Vec<u8>>,
    broken: Option<String>,
}

impl Scripts {
    pub fn new() -> Self {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default()).expect("Lua starts");
        let shared = Rc::new(RefCell::new(Shared::default()));
        let environment = environment(&lua, &shared).expect("its globals can be set");
        Self {
            lua,
            environment,
            compiled: HashMap::new(),
            shared,
        }
    }

    /// # Errors
    /// When it raises an error, uses a key that it was not given, or a command that the keyspace does not know.
    pub fn run(
        &mut self,
        keyspace: &mut Keyspace,
        source: &str,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
    ) -> Result<Reply, Broken> {
        let script = self.compile(source).map_err(broken)?;
        self.environment
            .raw_set("KEYS", self.strings(keys))
            .map_err(broken)?;
        self.environment
            .raw_set("ARGV", self.strings(args))
            .map_err(broken)?;
        {
            let mut shared = self.shared.borrow_mut();
            shared.keyspace = std::mem::take(keyspace);
            shared.declared = keys.to_vec();
            shared.broken = None;
        }
        let answered = script.call::<Value>(());
        let mut shared = self.shared.borrow_mut();
        *keyspace = std::mem::take(&mut shared.keyspace);
        match (shared.broken.take(), answered) {
            (Some(why), _) => Err(Broken(why)),
            (None, Err(error)) => Err(broken(error)),
            (None, Ok(value)) => as_reply(value),
        }
    }

    fn compile(&mut self, source: &str) -> mlua::Result<Function> {
        if let Some(script) = self.compiled.get(source) {
            return Ok(script.clone());
        }
        let script = self
            .lua
            .load(source)
            .set_environment(self.environment.clone())
            .into_function()?;
        self.compiled.insert(source.to_owned(), script.clone());
        Ok(script)
    }

    fn strings(&self, strings: &[Vec<u8>]) -> Table {
        let strings = strings
            .iter()
            .map(|bytes| self.lua.create_string(bytes).expect("memory"));
        self.lua.create_sequence_from(strings).expect("memory")
    }
}

fn environment(lua: &Lua, shared: &Rc<RefCell<Shared>>) -> mlua::Result<Table> {
    let environment = lua.create_table()?;
    for name in GLOBALS {
        environment.raw_set(*name, lua.globals().get::<Value>(*name)?)?;
    }
    let redis = lua.create_table()?;
    redis.raw_set("call", caller(lua, shared.clone(), true)?)?;
    redis.raw_set("pcall", caller(lua, shared.clone(), false)?)?;
    let single = |field: &'static str| {
        lua.create_function(move |lua, text: mlua::LuaString| {
            let table = lua.create_table()?;
            table.raw_set(field, text)?;
            Ok(table)
        })
    };
    redis.raw_set("error_reply", single("err")?)?;
    redis.raw_set("status_reply", single("ok")?)?;
    environment.raw_set("redis", redis)?;
    environment.raw_set("KEYS", lua.create_table()?)?;
    environment.raw_set("ARGV", lua.create_table()?)?;
    let strict = lua.create_table()?;
    let refuse = |doing: &'static str| {
        lua.create_function(move |_, (_, name): (Value, mlua::LuaString)| {
            let name = name.to_string_lossy();
            Err::<(), _>(mlua::Error::runtime(format!(
                "the script {doing} the global {name}"
            )))
        })
    };
    strict.raw_set("__index", refuse("reads")?)?;
    strict.raw_set("__newindex", refuse("sets")?)?;
    environment.set_metatable(Some(strict))?;
    Ok(environment)
}

fn caller(lua: &Lua, shared: Rc<RefCell<Shared>>, raises: bool) -> mlua::Result<Function> {
    lua.create_function(move |lua, args: MultiValue| {
        let words = args.iter().map(word).collect::<mlua::Result<Vec<_>>>()?;
        let mut shared = shared.borrow_mut();
        if let Some(key) = undeclared(&words, &shared.declared) {
            let why = format!("the script uses the key {key}, which it was not given");
            shared.broken = Some(why.clone());
            return Err(mlua::Error::runtime(why));
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match shared.keyspace.command(&words) {
            Ok(reply) => as_value(lua, reply),
            Err(Refused::AsRedisDoes(code)) if raises => Err(mlua::Error::runtime(code)),
            Err(Refused::AsRedisDoes(code)) => as_value(lua, Reply::Error(code.to_owned())),
            Err(Refused::Unknown(command)) => {
                let why = format!("the simulated Redis does not know: {command}");
                shared.broken = Some(why.clone());
                Err(mlua::Error::runtime(why))
            }
        }
    })
}

fn word(value: &Value) -> mlua::Result<Vec<u8>> {
    match value {
        Value::String(string) => Ok(string.as_bytes().to_vec()),
        Value::Integer(number) => Ok(number.to_string().into_bytes()),
        Value::Number(number) => Ok(shortest_of_17_digits(*number).into_bytes()),
        other => Err(mlua::Error::runtime(format!(
            "a command takes strings and numbers, not a {}",
            other.type_name()
        ))),
    }
}

fn undeclared(words: &[Vec<u8>], declared: &[Vec<u8>]) -> Option<String> {
    let (name, args) = words.split_first()?;
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    let keys = match name.as_str() {
        name if WITHOUT_KEYS.contains(&name) => &[],
        name if OF_KEYS_ALONE.contains(&name) => args,
        _ => args.get(..1).unwrap_or_default(),
    };
    let stray = keys.iter().find(|key| !declared.contains(key))?;
    Some(String::from_utf8_lossy(stray).into_owned())
}

fn as_value(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    let single = |field: &str, text: String| {
        let table = lua.create_table()?;
        table.raw_set(field, text)?;
        Ok(Value::Table(table))
    };
    match reply {
        Reply::Nil => Ok(Value::Boolean(false)),
        Reply::Int(number) => (number as f64).into_lua(lua),
        Reply::Status(text) => single("ok", text),
        Reply::Error(text) => single("err", text),
        Reply::Bulk(bytes) => Ok(Value::String(lua.create_string(bytes)?)),
        Reply::Array(items) => {
            let items = items.into_iter().map(|item| as_value(lua, item));
            let items = items.collect::<mlua::Result<Vec<_>>>()?;
            Ok(Value::Table(lua.create_sequence_from(items)?))
        }
    }
}

fn as_reply(value: Value) -> Result<Reply, Broken> {
    Ok(match value {
        Value::Nil | Value::Boolean(false) => Reply::Nil,
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(number) => Reply::Int(number),
        // As C's cast does: towards zero.
        Value::Number(number) => Reply::Int(number as i64),
        Value::String(string) => Reply::Bulk(string.as_bytes().to_vec()),
        Value::Table(table) => return table_as_reply(&table),
        other => return Err(Broken(format!("the script answered a {}", other.type_name()))),
    })
}

fn table_as_reply(table: &Table) -> Result<Reply, Broken> {
    for (field, made) in [
        ("err", Reply::Error as fn(String) -> Reply),
        ("ok", Reply::Status),
    ] {
        if let Some(text) = table.raw_get::<Option<String>>(field).map_err(broken)? {
            return Ok(made(text));
        }
    }
    let mut items = Vec::new();
    for index in 1.. {
        match table.raw_get::<Value>(index).map_err(broken)? {
            // An array ends at its first nil, whatever comes behind it.
            Value::Nil => break,
            item => items.push(as_reply(item)?),
        }
    }
    Ok(Reply::Array(items))
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broken(error: mlua::Error) -> Broken {
    Broken(error.to_string())
}
