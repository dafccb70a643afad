//! No sequence of what one tenant does changes any answer that another one gets. The same requests of `globex` are made twice,
//! in a world of its own and in one where `acme` does what it likes in between, with the same names of tools and with
//! globex's own handles; every answer has to be the same.

use std::fmt::Debug;

use axum::body::Body;
use dynamic_mcp_control_plane::principal::{Access, Right};
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::Service as _;

use crate::legacy::{initialize, session_request};
use crate::rig::{Answer, LEGACY, Rig, SOON, message, modern_request, post, somebody};

const ACME: &str = "acme";
const GLOBEX: &str = "globex";
/// Both use the same, and one that can be nobody's.
const NAMES: [&str; 4] = ["one.tool", "two.tool", "three.tool", "dev.echo"];
const CODES: [&str; 4] = ["echo", "print", "throw", "progress"];
/// What is different each time, whoever else is there.
const OWN_TO_EACH_RUN: [&str; 10] = [
    "createdAt",
    "updatedAt",
    "durationMs",
    "uptimeSeconds",
    "jobId",
    "sessionId",
    "commandId",
    "id",
    "uri",
    "lastUsedAt",
];

/// One request, by whomever.
#[derive(Debug, Clone)]
enum Deed {
    /// A call of a built-in tool with these arguments.
    Ask(&'static str, Value),
    /// A call of a tool by its own name.
    Call(&'static str, Value),
    /// Any other method.
    Method(&'static str, Value),
    /// What is no message.
    Garbage(&'static str),
    BeginSession,
    /// In a session of one's own, the last one or one before it.
    InSession(usize, &'static str),
    EndSession(usize),
    /// With a sandbox session of one's own, the last one or one before it.
    InSandbox(usize, &'static str, Value),
}

/// What only acme does.
#[derive(Debug, Clone)]
enum Mischief {
    Deed(Deed),
    /// A call that runs on.
    Hang,
    /// With a session of globex's: `DELETE`, `GET` or a request.
    Steal(&'static str),
    /// With a sandbox session of globex's.
    StealSandbox(&'static str, Value),
}

#[derive(Debug, Clone)]
enum Step {
    Acme(Mischief),
    Globex(Deed),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn draft() -> impl Strategy<Value = Value> {
    let shape = (any::<bool>(), visibility());
    (name(), prop::sample::select(&CODES[..]), shape).prop_map(|(name, code, (typed, visibility))| {
        let mut tool = json!({"name": name, "description": "d", "code": code});
        if typed {
            tool["inputSchema"] = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        }
        given(json!({"tool": tool, "visibility": visibility}))
    })
}

/// Seldom those of all tenants, which are the operator's alone.
fn visibility() -> impl Strategy<Value = Value> {
    prop_oneof![4 => Just(Value::Null), 1 => Just(json!("shared"))]
}

/// What an operator may.
fn operation() -> impl Strategy<Value = Deed> {
    let whose = prop::sample::select(&[ACME, GLOBEX][..]);
    prop_oneof![
        whose.clone().prop_map(|tenant| {
            let settings = json!({"tenant": tenant, "settings": {"maxTools": 0, "maxConcurrency": 0}});
            Deed::Ask("system.tenant.set", settings)
        }),
        whose.prop_map(|tenant| Deed::Ask("system.tenant.get", json!({"tenant": tenant}))),
        Just(Deed::Ask("system.runtime_config", json!({}))),
    ]
}

fn patch() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(&CODES[..]).prop_map(|code| json!({"code": code})),
        Just(json!({"title": "t"})),
        Just(json!({"colour": "red"})),
        Just(json!({"timeoutMs": 1})),
    ]
}

fn revision() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), (1u64..4).prop_map(Value::from)]
}

/// An object without what is null.
fn given(fields: Value) -> Value {
    let fields = fields.as_object().expect("an object").clone();
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn write() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => draft().prop_map(|draft| Deed::Ask("dynamic.tool.create", draft)),
        2 => (name(), patch(), revision()).prop_map(|(name, patch, expected)| {
            let change = json!({"name": name, "patch": patch, "expectedRevision": expected});
            Deed::Ask("dynamic.tool.update", given(change))
        }),
        1 => (name(), any::<bool>()).prop_map(|(name, enabled)| {
            Deed::Ask("dynamic.tool.enable", json!({"name": name, "enabled": enabled}))
        }),
        1 => (name(), revision(), visibility()).prop_map(|(name, expected, visibility)| {
            let which = json!({"name": name, "expectedRevision": expected, "visibility": visibility});
            Deed::Ask("dynamic.tool.delete", given(which))
        }),
        1 => (name(), 1u64..4).prop_map(|(name, to)| {
            Deed::Ask("dynamic.tool.rollback", json!({"name": name, "to": to}))
        }),
    ]
}

fn call() -> impl Strategy<Value = Deed> {
    let args = prop_oneof![
        Just(json!({"args": {"n": 1}})),
        Just(json!({"n": 1})),
        Just(json!({"n": "one"})),
        Just(json!({}))
    ];
    prop_oneof![
        3 => (name(), args).prop_map(|(name, args)| Deed::Call(name, args)),
        1 => (name(), revision()).prop_map(|(name, revision)| {
            Deed::Ask("dynamic.tool.call", given(json!({"name": name, "revision": revision})))
        }),
        1 => prop::sample::select(&CODES[..]).prop_map(|code| Deed::Ask("run_js_ephemeral", json!({"code": code}))),
    ]
}

fn read() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Method("tools/list", json!({}))),
        Just(Deed::Method("tools/list", json!({"cursor": "3172746f"}))),
        Just(Deed::Method(
            "resources/read",
            json!({"uri": "dynamic://metrics/guard"})
        )),
        Just(Deed::Method(
            "resources/read",
            json!({"uri": "dynamic://metrics/acme"})
        )),
        Just(Deed::Method("completion/complete", completion())),
        Just(Deed::Ask("system.guard_metrics", json!({}))),
        Just(Deed::Ask("system.health", json!({}))),
        Just(Deed::Ask("dynamic.tool.list", json!({"includeCode": true}))),
        name().prop_map(|name| Deed::Ask("dynamic.tool.get", json!({"name": name}))),
        name().prop_map(|name| Deed::Ask("dynamic.tool.history", json!({"name": name, "limit": 2}))),
        name().prop_map(|name| Deed::Ask("dynamic.tool.diff", json!({"name": name, "from": 1, "to": 2}))),
        prop::sample::select(&["{", "[]", r#"{"a":1,"a":2}"#, r#"{"jsonrpc":"2.0"}"#][..])
            .prop_map(Deed::Garbage),
    ]
}

fn session() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::BeginSession),
        (
            0usize..3,
            prop::sample::select(&["ping", "tools/list", "no/such"][..])
        )
            .prop_map(|(which, method)| Deed::InSession(which, method)),
        (0usize..3).prop_map(Deed::EndSession),
    ]
}

fn in_sandbox() -> impl Strategy<Value = (&'static str, Value)> {
    prop::sample::select(vec![
        ("sandbox.exec", json!({"commands": ["one", "fail"]})),
        ("sandbox.exec", json!({"commands": ["one"], "background": true})),
        ("sandbox.run_js", json!({"code": "echo"})),
        ("sandbox.stop", json!({})),
        (
            "sandbox.fs.write",
            json!({"files": [{"path": "out/a", "content": "b"}]}),
        ),
        ("sandbox.fs.read", json!({"paths": ["out/a", "../a"]})),
        ("sandbox.fs.list", json!({})),
        ("sandbox.command.kill", json!({"commandId": "cmd_1"})),
    ])
}

fn sandbox() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Ask("sandbox.initialize", json!({}))),
        Just(Deed::Ask("sandbox.session.list", json!({}))),
        (0usize..3, in_sandbox()).prop_map(|(which, (tool, more))| Deed::InSandbox(which, tool, more)),
        in_sandbox().prop_map(|(tool, more)| Deed::InSandbox(0, tool, more)),
    ]
}

fn completion() -> Value {
    json!({
        "ref": {"type": "ref/prompt", "name": "tool-call-checklist"},
        "argument": {"name": "toolName", "value": "t"},
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![8 => write(), 6 => call(), 6 => read(), 4 => session(), 6 => sandbox(), 1 => operation()]
}

fn step() -> impl Strategy<Value = Step> {
    let mischief = prop_oneof![
        8 => deed().prop_map(Mischief::Deed),
        1 => Just(Mischief::Hang),
        1 => prop::sample::select(&["DELETE", "GET", "POST"][..]).prop_map(Mischief::Steal),
        2 => in_sandbox().prop_map(|(tool, more)| Mischief::StealSandbox(tool, more)),
    ];
    prop_oneof![mischief.prop_map(Step::Acme), deed().prop_map(Step::Globex)]
}

/// Everything that there is to see.
fn look_around() -> Vec<Deed> {
    let mut deeds = vec![
        Deed::Method("tools/list", json!({})),
        Deed::Method("resources/list", json!({})),
        Deed::Method("resources/read", json!({"uri": "dynamic://metrics/guard"})),
        Deed::Method("completion/complete", completion()),
        Deed::Ask("dynamic.tool.list", json!({"includeCode": true})),
        Deed::Ask("system.health", json!({})),
        Deed::Ask("sandbox.session.list", json!({})),
    ];
    for which in 0..2 {
        deeds.push(Deed::InSandbox(
            which,
            "sandbox.fs.read",
            json!({"paths": ["out/a"]}),
        ));
        deeds.push(Deed::InSandbox(
            which,
            "sandbox.exec",
            json!({"commands": ["one"]}),
        ));
    }
    for name in NAMES {
        deeds.extend([
            Deed::Ask("dynamic.tool.get", json!({"name": name})),
            Deed::Ask("dynamic.tool.history", json!({"name": name})),
            Deed::Ask("dynamic.tool.diff", json!({"name": name, "from": 1, "to": 2})),
            Deed::Ask("dynamic.tool.call", json!({"name": name})),
            Deed::Call(name, json!({})),
        ]);
    }
    deeds.extend((0..3).map(|which| Deed::InSession(which, "ping")));
    deeds.push(Deed::Ask("system.guard_metrics", json!({})));
    deeds
}

/// One tenant's end of the wire.
struct Party {
    access: Access,
    next_id: u64,
    /// The newest last, ended ones too.
    sessions: Vec<String>,
    sandboxes: Vec<String>,
}

impl Party {
    fn new(tenant: &str) -> Self {
        let access = Access {
            rights: [Right::Call, Right::Write, Right::Sandbox].into_iter().collect(),
            ..somebody(tenant)
        };
        Self {
            access,
            next_id: 1,
            sessions: Vec::new(),
            sandboxes: Vec::new(),
        }
    }

    fn session(&self, which: usize) -> String {
        let mut newest_first = self.sessions.iter().rev();
        newest_first
            .nth(which)
            .cloned()
            .unwrap_or_else(|| "none".to_owned())
    }

    fn sandbox(&self, which: usize) -> String {
        let mut newest_first = self.sandboxes.iter().rev();
        newest_first
            .nth(which)
            .cloned()
            .unwrap_or_else(|| "mcp-sbx-0".to_owned())
    }

    async fn send(&self, rig: &Rig, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(self.access.clone());
        rig.send(request).await
    }

    async fn do_it(&mut self, rig: &Rig, deed: &Deed) -> Seen {
        self.next_id += 1;
        let id = self.next_id;
        let call = |name: &str, arguments: &Value| {
            modern_request(id, "tools/call", json!({"name": name, "arguments": arguments}))
        };
        let request = match deed {
            Deed::Ask(name, arguments) | Deed::Call(name, arguments) => call(name, arguments),
            Deed::Method(method, params) => modern_request(id, method, params.clone()),
            Deed::Garbage(text) => post(LEGACY).body(Body::from(*text)).expect("a request"),
            Deed::BeginSession => initialize(),
            Deed::InSession(which, method) => {
                let request = post(LEGACY).header("mcp-session-id", self.session(*which));
                request
                    .body(message(Some(id), method, &json!({})))
                    .expect("a request")
            }
            Deed::EndSession(which) => session_request("DELETE", &self.session(*which)),
            Deed::InSandbox(which, tool, more) => call(tool, &with_session(more, &self.sandbox(*which))),
        };
        let answer = self.send(rig, request).await;
        if let (Deed::BeginSession, Some(session)) = (deed, answer.header("mcp-session-id")) {
            self.sessions.push(session);
        }
        let (seen, opened) = Seen::of(answer).await;
        self.sandboxes.extend(opened);
        seen
    }
}

fn with_session(arguments: &Value, session: &str) -> Value {
    let mut arguments = arguments.clone();
    arguments["sessionId"] = session.into();
    arguments
}

/// An answer, without what is different each time.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    body: String,
}

impl Seen {
    /// With the sandbox session that was opened, if one was.
    async fn of(answer: Answer) -> (Self, Option<String>) {
        let status = answer.status();
        let mut opened = None;
        let body = match status {
            202 => String::new(),
            _ => {
                let mut message = answer.message().await;
                let id = &message["result"]["structuredContent"]["sessionId"];
                opened = id.as_str().map(str::to_owned);
                forget(&mut message);
                message.to_string()
            }
        };
        (Self { status, body }, opened)
    }
}

fn forget(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if OWN_TO_EACH_RUN.contains(&name.as_str()) {
                    *value = Value::Null;
                } else {
                    forget(value);
                }
            }
        }
        // The same once more, as a text for people.
        Value::String(text) => {
            if let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                forget(&mut inner);
                *text = inner.to_string();
            }
            *text = without_times(text);
        }
        _ => {}
    }
}

/// `ok in 3 ms` is `ok in _ ms`.
fn without_times(text: &str) -> String {
    let mut words: Vec<_> = text.split(' ').collect();
    for place in 1..words.len() {
        if words[place].starts_with("ms") {
            words[place - 1] = "_";
        }
    }
    words.join(" ")
}

/// What globex is answered in a world where these things happen.
async fn answers(steps: impl Iterator<Item = &Step>) -> Vec<(Deed, Seen)> {
    let rig = Rig::new().await;
    let (mut acme, mut globex) = (Party::new(ACME), Party::new(GLOBEX));
    let mut hanging = JoinSet::new();
    let mut seen = Vec::new();
    for step in steps {
        match step {
            Step::Globex(deed) => seen.push((deed.clone(), globex.do_it(&rig, deed).await)),
            Step::Acme(Mischief::Deed(deed)) => drop(acme.do_it(&rig, deed).await),
            Step::Acme(Mischief::Hang) => hang(&rig, &acme, &mut hanging).await,
            Step::Acme(Mischief::Steal(method)) => {
                let request = session_request(method, &globex.session(0));
                drop(acme.send(&rig, request).await);
            }
            Step::Acme(Mischief::StealSandbox(tool, more)) => {
                let arguments = with_session(more, &globex.sandbox(0));
                let request = modern_request(1, "tools/call", json!({"name": tool, "arguments": arguments}));
                drop(acme.send(&rig, request).await.message().await);
            }
        }
    }
    for deed in look_around() {
        let answer = globex.do_it(&rig, &deed).await;
        seen.push((deed, answer));
    }
    seen
}

async fn hang(rig: &Rig, party: &Party, hanging: &mut JoinSet<()>) {
    let mut request = modern_request(
        1,
        "tools/call",
        json!({"name": "run_js_ephemeral", "arguments": {"code": "hang"}}),
    );
    request.extensions_mut().insert(party.access.clone());
    let call = rig.service.clone().call(request);
    hanging.spawn(async move { drop(call.await) });
    let begun = async {
        while (rig.active_executions_of(&party.access.principal.tenant).await as usize) < hanging.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, begun).await.expect("it begins");
}

/// With acme and without it.
async fn both(steps: &[Step]) -> (Vec<(Deed, Seen)>, Vec<(Deed, Seen)>) {
    let globex = steps.iter().filter(|step| matches!(step, Step::Globex(_)));
    tokio::join!(answers(steps.iter()), answers(globex))
}

#[tokio::test]
async fn a_call_that_runs_on_is_not_counted_before_the_eyes_of_another() {
    let (together, alone) = both(&[Step::Acme(Mischief::Hang)]).await;
    assert_eq!(format!("{together:?}"), format!("{alone:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_that_a_tenant_does_changes_an_answer_of_another(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (together, alone) = runtime.block_on(both(&steps));
        for ((deed, together), (_, alone)) in together.iter().zip(&alone) {
            prop_assert_eq!(together, alone, "{:?}", deed);
        }
        prop_assert_eq!(together.len(), alone.len());
    }
}
