//! `dynamic-mcp certs`: a private authority in a directory, and certificates of it for both planes. Not part of the server,
//! which never sees the authority's key.

mod args;
mod directory;

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::tls::Identity;
use dynamic_mcp_shared::tls::authority::{Authority, Request};

use self::args::{AUTHORITY_DAYS, Lifetime, Place};
pub use self::args::{CertsCommand, Member};
use self::directory::Directory;

const AUTHORITY: &str = "ca";
const CONTROL_PLANE: &str = "control-plane";
/// For machines whose clocks are behind this one's.
const BEFORE: TimeDelta = TimeDelta::minutes(5);

/// # Errors
/// When there is something already that is not to be replaced, or a file can't be read or written.
pub fn run(command: &CertsCommand, clock: &dyn Clock) -> anyhow::Result<()> {
    let now = clock.now();
    match command {
        CertsCommand::Init(args) => {
            let directory = directory(&args.place);
            directory.check_free(&[AUTHORITY.to_owned()])?;
            make_authority(&directory, args.days, now)
        }
        CertsCommand::ControlPlane(args) => {
            let hosts = args.hosts.clone();
            let one = (Identity::ControlPlane, hosts);
            issue(&directory(&args.place), &args.lifetime, &[one], now)
        }
        CertsCommand::Executor(args) => {
            let id = args.id.clone().unwrap_or_else(ExecutorId::generate);
            let one = (Identity::Executor(id), args.hosts.clone());
            issue(&directory(&args.place), &args.lifetime, &[one], now)
        }
        CertsCommand::All(args) => {
            let directory = directory(&args.place);
            let executors = args
                .executors
                .iter()
                .map(|Member { id, hosts }| (Identity::Executor(id.clone()), hosts.clone()));
            let control_plane = (Identity::ControlPlane, args.control_plane.clone());
            let all: Vec<_> = [control_plane].into_iter().chain(executors).collect();
            directory.check_free(&names(&all))?;
            if !directory.has(AUTHORITY) {
                // Its key may be there alone, and is no less worth for that.
                directory.check_free(&[AUTHORITY.to_owned()])?;
                make_authority(&directory, AUTHORITY_DAYS, now)?;
            }
            issue(&directory, &args.lifetime, &all, now)
        }
    }
}

fn directory(place: &Place) -> Directory {
    Directory::new(&place.dir, place.force)
}

fn make_authority(directory: &Directory, days: u32, now: DateTime<Utc>) -> anyhow::Result<()> {
    let authority = Authority::new(now - BEFORE, now + TimeDelta::days(days.into()))?;
    directory.write(AUTHORITY, authority.certificate_pem(), authority.key_pem())?;
    say(&format!(
        "{}: the authority, until {}; its key belongs on no machine that serves",
        directory.certificate(AUTHORITY).display(),
        day(authority.not_after())
    ));
    Ok(())
}

fn issue(
    directory: &Directory,
    lifetime: &Lifetime,
    wanted: &[(Identity, Vec<String>)],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let names = names(wanted);
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        bail!("{twice} is named twice; name all its hosts at once");
    }
    directory.check_free(&names)?;
    let (certificate, key) = directory.read(AUTHORITY).with_context(|| {
        format!(
            "no authority in {}: dynamic-mcp certs init --dir {} makes one",
            directory.path().display(),
            directory.path().display()
        )
    })?;
    let authority = Authority::from_pem(&certificate, &key)
        .with_context(|| directory.certificate(AUTHORITY).display().to_string())?;
    // All of them, before the first is written: a host that is none leaves nothing half done.
    let pairs = wanted.iter().map(|(identity, hosts)| {
        authority.issue(&Request {
            identity: identity.clone(),
            hosts: hosts.clone(),
            not_before: now - BEFORE,
            not_after: now + TimeDelta::days(lifetime.days.into()),
        })
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    for ((identity, hosts), pair) in wanted.iter().zip(pairs) {
        let name = name(identity);
        directory.write(&name, &pair.certificate, &pair.key)?;
        say(&format!(
            "{}: {identity} at {}, until {}",
            directory.certificate(&name).display(),
            hosts.join(", "),
            day(pair.not_after)
        ));
    }
    Ok(())
}

fn names(wanted: &[(Identity, Vec<String>)]) -> Vec<String> {
    wanted.iter().map(|(identity, _)| name(identity)).collect()
}

fn name(identity: &Identity) -> String {
    match identity {
        Identity::ControlPlane => CONTROL_PLANE.to_owned(),
        Identity::Executor(id) => id.to_string(),
    }
}

fn day(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d")
}

#[expect(clippy::print_stdout, reason = "what it prints is what it did")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests;
