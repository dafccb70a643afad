//! Every key and channel that is ours. All begin with one prefix, and those that one script touches share a hash tag, so
//! that a cluster keeps them on one node. Whoever writes one gives it a time to live.

use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId, SandboxId, TenantId};

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

/// Which sessions of the legacy era there are.
#[derive(Debug, Clone)]
pub struct SessionCounts {
    pub all: String,
    pub tenants: String,
    pub busy: String,
    pub of_tenant: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Never there: asked for to see whether Redis answers.
    pub(super) fn looked_up(&self) -> String {
        self.of_group("health", "none")
    }

    /// The executors that replicas told each other of, each with the end of its record, by Redis's own time.
    pub fn fleet_index(&self) -> String {
        self.of_group("fleet", "executors")
    }

    /// What is known of one executor.
    pub fn fleet_record(&self, id: &ExecutorId) -> String {
        self.of_group("fleet", &format!("executor:{id}"))
    }

    /// Where replicas tell each other what they heard of executors.
    pub fn fleet_news(&self) -> String {
        self.of_group("fleet", "news")
    }

    /// Who began a session, how, and where it is.
    pub fn session_state(&self, id: &str) -> String {
        self.of_group(&format!("mcp-session:{id}"), "state")
    }

    /// What a session says to its client without being asked.
    pub fn session_events(&self, id: &str) -> String {
        self.of_group(&format!("mcp-session:{id}"), "events")
    }

    /// The stream of a request on its way to the replica where its client reads it.
    pub fn session_relay(&self, id: &str, token: &str) -> String {
        self.of_group(&format!("mcp-session:{id}"), &format!("relay:{token}"))
    }

    /// There while the replica is.
    pub fn replica_alive(&self, replica: &ReplicaId) -> String {
        self.of_group(&format!("mcp-replica:{replica}"), "alive")
    }

    /// What other replicas have for it.
    pub fn replica_inbox(&self, replica: &ReplicaId) -> String {
        self.of_group(&format!("mcp-replica:{replica}"), "inbox")
    }

    /// Where it is told that something has come for it.
    pub fn replica_channel(&self, replica: &ReplicaId) -> String {
        self.of_group(&format!("mcp-replica:{replica}"), "channel")
    }

    /// All sessions, the tenants that have some, those in use, and what the keys of single tenants begin with.
    pub fn session_counts(&self) -> SessionCounts {
        let key = |rest| self.of_group("mcp-sessions", rest);
        SessionCounts {
            all: key("all"),
            tenants: key("tenants"),
            busy: key("busy"),
            of_tenant: key("of:"),
        }
    }

    /// What is known of one sandbox session.
    pub fn sandbox(&self, id: &SandboxId) -> String {
        self.of_group("sandbox", &format!("session:{id}"))
    }

    /// Those that are open or opening, each with the time until which it counts, by Redis's own time.
    pub fn sandboxes(&self) -> String {
        self.of_group("sandbox", "all")
    }

    /// Of the directory of sandbox sessions: which it is and since when.
    pub fn sandbox_generation(&self) -> String {
        self.of_group("sandbox", "generation")
    }

    pub fn sandboxes_of_tenant(&self, tenant: &TenantId) -> String {
        self.of_group("sandbox", &format!("tenant:{tenant}"))
    }

    /// No owner's key has a colon, so that no tenant's name can end like another one's owner.
    pub fn sandboxes_of_owner(&self, tenant: &TenantId, owner: &str) -> String {
        self.of_group("sandbox", &format!("owner:{owner}:{tenant}"))
    }

    /// Of one group: keys of one group are on one node of a cluster.
    fn of_group(&self, group: &str, rest: &str) -> String {
        format!("{{{}:{group}}}:{rest}", self.prefix)
    }

    /// What the guard's scripts share: meta, leases, lanes, queue, waiting.
    pub fn guard_slots(&self) -> [String; 5] {
        ["meta", "leases", "lanes", "queue", "waiting"].map(|name| self.of_group("guard", name))
    }

    /// The replicas that live.
    pub fn guard_replicas(&self) -> String {
        self.of_group("guard", "replicas")
    }

    /// The beginnings and the held places of a tenant's scope; without a scope, of all of them together.
    pub fn guard_window(&self, tenant: &TenantId, scope: Option<&str>) -> [String; 2] {
        let of = match scope {
            // No tenant's name has a space in it.
            Some(scope) => format!("scope:{tenant} {scope}"),
            None => format!("tenant:{tenant}"),
        };
        ["begun", "held"].map(|name| self.of_group("guard", &format!("{name}:{of}")))
    }

    /// The counts of a tenant and the scopes that it used.
    pub fn guard_counts(&self, tenant: &TenantId) -> [String; 2] {
        ["counts", "scopes"].map(|name| self.of_group("guard", &format!("{name}:{tenant}")))
    }

    /// What the channel begins with on which a replica is told; its id follows.
    pub fn guard_channel(&self) -> String {
        self.of_group("guard", "told:")
    }
}
