//! A replica without others: what a session is is in its own memory.

use async_trait::async_trait;
use dynamic_mcp_shared::ids::{ReplicaId, TenantId};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use rmcp::model::ServerJsonRpcMessage;

use super::{
    BusError, Caps, Event, Evicted, Held, Kept, Letter, News, Piece, Place, Record, Relayed, SessionBus,
    Taken, Use,
};

pub struct Alone(ReplicaId);

impl Alone {
    pub fn new(replica: ReplicaId) -> Self {
        Self(replica)
    }
}

#[async_trait]
impl SessionBus for Alone {
    fn replica(&self) -> &ReplicaId {
        &self.0
    }

    async fn admit(&self, _id: &str, _tenant: &TenantId, _caps: Caps) -> Result<Option<Evicted>, BusError> {
        Err(BusError::Alone)
    }

    async fn write(&self, _id: &str, _record: &Record) -> Result<Held, BusError> {
        Ok(Held::Here)
    }

    async fn find(&self, _id: &str) -> Result<Option<Record>, BusError> {
        Ok(None)
    }

    async fn hold(&self, _id: &str) -> Result<Held, BusError> {
        Ok(Held::Here)
    }

    async fn report(&self, _uses: &[Use<'_>]) -> Result<(), BusError> {
        Ok(())
    }

    async fn leave(&self, _id: &str) -> Result<(), BusError> {
        Ok(())
    }

    async fn end(&self, _id: &str, _tenant: &TenantId) -> Result<(), BusError> {
        Ok(())
    }

    async fn keep(&self, _id: &str, _kept: Kept) -> Result<(), BusError> {
        Ok(())
    }

    async fn tell_copies(&self, _letter: &Letter) -> Result<(), BusError> {
        Ok(())
    }

    async fn send(&self, _to: &ReplicaId, _letter: &Letter) -> Result<bool, BusError> {
        Ok(false)
    }

    async fn post(&self, _id: &str, _message: &ServerJsonRpcMessage) -> Result<(), BusError> {
        Err(BusError::Alone)
    }

    async fn claim(&self, _id: &str, _reader: &str, _after: Option<&str>) -> Result<(), BusError> {
        Ok(())
    }

    async fn take(&self, _id: &str, _reader: &str) -> Result<Taken, BusError> {
        Ok(Taken::Events(Vec::<Event>::new()))
    }

    async fn relay(&self, _id: &str, _to: &ReplicaId, _token: &str, _piece: &Piece) -> Result<(), BusError> {
        Err(BusError::Alone)
    }

    async fn relayed(&self, _id: &str, _token: &str, _got: &[Place]) -> Result<Vec<Relayed>, BusError> {
        Err(BusError::Alone)
    }

    async fn is_alive(&self, replica: &ReplicaId) -> Result<bool, BusError> {
        Ok(*replica == self.0)
    }

    fn news(&self) -> BoxStream<'static, News> {
        futures::stream::pending().boxed()
    }
}
