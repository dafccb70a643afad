//! A child's body that runs one attack, and tells what the kernel answered.

use dynamic_mcp_isolate::body::{Body, Exit};
use dynamic_mcp_isolate::channel::Channel;
use dynamic_mcp_isolate::frame::Kind;

use crate::attacks;

pub struct Native;

impl Body for Native {
    fn warm(&mut self, _memory_bytes: u64) -> Result<(), String> {
        Ok(())
    }

    fn serve(&mut self, mut channel: Channel) -> Exit {
        let Ok(Some(call)) = channel.next_call() else {
            return Exit::Failed;
        };
        let name = String::from_utf8(call.code.unwrap_or_default()).unwrap_or_default();
        let Some(attack) = attacks::named(&name) else {
            return Exit::Failed;
        };
        let answer = (attack.act)().to_string();
        match channel.send(Kind::Result, answer.as_bytes()) {
            Ok(()) => Exit::Done,
            Err(_) => Exit::Failed,
        }
    }
}
