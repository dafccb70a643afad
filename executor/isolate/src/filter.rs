//! From the table of allowed calls to the program that the kernel runs on each. Anything else ends the process, and so
//! does a call by another door (32-bit, x32): those have other numbers or another architecture.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::syscalls::{Allowed, Argument};

/// # Errors
/// When this machine's architecture has no filter, or the table can't be compiled.
pub fn program<'a>(table: impl IntoIterator<Item = &'a Allowed>) -> Result<BpfProgram, String> {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| format!("system calls can't be filtered on {}", std::env::consts::ARCH))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = Vec::new();
    for allowed in table {
        if allowed.when.is_empty() {
            always.push(allowed.number);
            continue;
        }
        let rule = rule(allowed).map_err(|error| format!("{}: {error}", allowed.name))?;
        rules.entry(allowed.number).or_default().push(rule);
    }
    // A call that is allowed whatever its arguments has no rules, and that is how it is told.
    for number in always {
        rules.insert(number, Vec::new());
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

fn rule(allowed: &Allowed) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |argument: &Argument| {
        let Argument::Is(index, value) = *argument;
        SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
    };
    SeccompRule::new(allowed.when.iter().map(condition).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::{CHILD, ZYGOTE};

    #[test]
    fn both_tables_compile() {
        assert!(program(CHILD).is_ok());
        assert!(program(CHILD.iter().chain(ZYGOTE)).is_ok());
    }

    #[test]
    fn every_row_has_a_reason_and_a_name_of_its_own() {
        let mut names: Vec<_> = CHILD.iter().map(|row| row.name).collect();
        names.dedup();
        assert_eq!(names.len(), CHILD.len());
        assert!(CHILD.iter().chain(ZYGOTE).all(|row| row.why.len() > 8));
    }
}
