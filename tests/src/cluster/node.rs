//! One executor, with a link by which it is dialled and one to each replica that it joins.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::plan::Plan;
use crate::eventually::eventually;
use crate::on::On;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::server::{Executor, NO_POOL};
use crate::state::State;

const JOIN: Duration = Duration::from_secs(30);
const JOINED: &str = "joined the control plane";
/// With the beginnings and ends of jobs, by which it is seen from outside what it ran and when.
const LOG: (&str, &str) = ("MCP_LOG", "info,dynamic_mcp_executor::grpc=debug");

pub struct Node {
    pub on: On,
    /// From all replicas to it.
    pub dialled: Proxy,
    /// From it to each replica.
    pub joins: Vec<Proxy>,
    executor: Option<Executor>,
    state: State,
    settings: Vec<(String, String)>,
    /// The logs of its earlier lives.
    past: Vec<String>,
}

/// The time in which the code of a job ran, by the executor's own log. Times are compared as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub job: String,
    pub began: String,
    /// `None`: it runs, or its executor was killed.
    pub ended: Option<String>,
}

impl Node {
    pub(super) async fn new(on: On, replicas: usize, plan: &Plan) -> Result<Self> {
        let dialled = Proxy::before_it_starts().await?;
        let mut joins = Vec::new();
        for _ in 0..replicas {
            joins.push(Proxy::before_it_starts().await?);
        }
        let advertised = format!("http://{}", dialled.address());
        let own = [LOG, ("MCP_EXECUTOR_ADVERTISE", advertised.as_str())];
        // Every container is a call's then, so that one which is left is seen.
        let settings = own.iter().chain(on.settings()).chain(&NO_POOL);
        let mut settings: Vec<_> = settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        settings.extend(plan.executor_settings.iter().cloned());
        Ok(Self {
            on,
            dialled,
            joins,
            executor: None,
            state: State::new()?,
            settings,
            past: Vec::new(),
        })
    }

    pub fn is_up(&self) -> bool {
        self.executor.is_some()
    }

    /// # Panics
    /// When it is down.
    pub fn process(&self) -> &Process {
        match &self.executor {
            Some(executor) => &executor.process,
            None => panic!("the executor is down"),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// By which the product names it.
    ///
    /// # Errors
    /// When it has not started yet.
    pub fn id(&self) -> Result<String> {
        self.state.executor()
    }

    /// What ran in this life of it, in the order in which it began.
    ///
    /// # Errors
    /// When its log is not what is expected.
    pub fn ran(&self) -> Result<Vec<Span>> {
        spans(&self.process().log())
    }

    /// The same with what ran in its earlier lives.
    ///
    /// # Errors
    /// When a log is not what is expected.
    pub fn ran_in_all_lives(&self) -> Result<Vec<Span>> {
        let now = self.executor.iter().map(|executor| executor.process.log());
        let mut all = Vec::new();
        for log in self.past.iter().cloned().chain(now) {
            all.extend(spans(&log)?);
        }
        Ok(all)
    }

    /// Nothing comes through any of its links, and nobody is told.
    pub fn stall(&self) {
        self.links().for_each(Proxy::stall);
    }

    /// All its connections are closed, and every new one is.
    pub fn cut(&self) {
        self.links().for_each(Proxy::cut);
    }

    pub fn flow(&self) {
        self.links().for_each(Proxy::flow);
    }

    fn links(&self) -> impl Iterator<Item = &Proxy> {
        self.joins.iter().chain([&self.dialled])
    }

    fn remember(&mut self) {
        self.past
            .extend(self.executor.as_ref().map(|executor| executor.process.log()));
    }

    pub(super) async fn start(&mut self) -> Result<()> {
        ensure!(self.executor.is_none(), "the executor is up");
        let settings: Vec<_> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let replicas: Vec<_> = self
            .joins
            .iter()
            .map(|link| format!("http://{}", link.address()))
            .collect();
        let mut executor = Executor::begin_at(self.state.clone(), &replicas.join(","), &settings)?;
        let started = executor.process.logged("executor started").await?;
        let address: SocketAddr = started["address"].as_str().context("an address")?.parse()?;
        self.dialled.aim(address);
        self.executor = Some(executor);
        Ok(())
    }

    pub(super) async fn joined(&self, replicas: usize) -> Result<()> {
        eventually(JOIN, async || {
            let log = self.process().log();
            let joined = log.matches(JOINED).count();
            ensure!(
                joined >= replicas,
                "it has joined {joined} of {replicas} replicas:\n{log}"
            );
            Ok(())
        })
        .await;
        Ok(())
    }

    pub(super) async fn kill(&mut self) {
        self.remember();
        if let Some(executor) = self.executor.take() {
            executor.kill().await;
        }
    }

    pub(super) async fn ended(&mut self, limit: Duration) -> Result<()> {
        self.remember();
        let Some(mut executor) = self.executor.take() else {
            return Ok(());
        };
        let status = executor.process.ended(limit).await?;
        ensure!(
            status.success(),
            "it ended with {status}:\n{}",
            executor.process.log()
        );
        Ok(())
    }

    pub(super) async fn terminate(&mut self) {
        self.remember();
        if let Some(executor) = self.executor.take() {
            executor.stop().await;
        }
    }
}

fn spans(log: &str) -> Result<Vec<Span>> {
    let mut spans: Vec<Span> = Vec::new();
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |name: &str| {
            line[name]
                .as_str()
                .context("a field of a log line")
                .map(str::to_owned)
        };
        match line["message"].as_str() {
            Some("the code of a job begins") => spans.push(Span {
                job: text("job.id")?,
                began: text("timestamp")?,
                ended: None,
            }),
            Some("the code of a job has ended") => {
                let job = text("job.id")?;
                let span = spans.iter_mut().find(|span| span.job == job);
                span.context("an end without a beginning")?.ended = Some(text("timestamp")?);
            }
            _ => {}
        }
    }
    Ok(spans)
}
