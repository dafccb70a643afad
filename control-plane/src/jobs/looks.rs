//! Looks at what is in sessions. They take no permit, and what they show is in memory meanwhile: so each owner has few at once.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::sandbox::{Owner, SandboxError};

const MOST: usize = 4;

/// Those that go on now, of the owners that have some.
#[derive(Default)]
pub(super) struct Looks(Mutex<HashMap<Owner, usize>>);

/// Lasts until it is dropped.
pub(super) struct Look<'a> {
    looks: &'a Looks,
    owner: Owner,
}

impl Looks {
    /// # Errors
    /// When as many go on as may.
    pub(super) fn begin(&self, owner: &Owner) -> Result<Look<'_>, SandboxError> {
        let mut all = self.0.lock();
        let of_owner = all.entry(owner.clone()).or_default();
        if *of_owner >= MOST {
            return Err(SandboxError::LookedAt { most: MOST });
        }
        *of_owner += 1;
        Ok(Look {
            looks: self,
            owner: owner.clone(),
        })
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut all = self.looks.0.lock();
        if let Some(of_owner) = all.get_mut(&self.owner) {
            *of_owner -= 1;
            if *of_owner == 0 {
                all.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(key: &str) -> Owner {
        Owner {
            tenant: "acme".parse().unwrap(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn an_owner_has_few_at_once_and_nobody_else_is_in_the_way() {
        let looks = Looks::default();
        let (ann, bob) = (owner("ann"), owner("bob"));
        let mut begun: Vec<_> = (0..MOST).map(|_| looks.begin(&ann).unwrap()).collect();
        let refused = looks.begin(&ann).err().unwrap();
        assert_eq!(refused.reason(), Some("session_busy"));
        assert!(refused.retry_after().is_some());
        drop(looks.begin(&bob).unwrap());
        begun.pop();
        drop(looks.begin(&ann).unwrap());
        drop(begun);
        assert!(looks.0.lock().is_empty(), "who has none is forgotten");
    }
}
