//! The slots of executions, and those who wait for one. A tenant takes no more than its share. A slot that comes free
//! goes to the tenant that [`fairness`] chooses of those who wait, and within it to who came first: so one that floods
//! waits behind its own calls, not in front of everybody else's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Share, fairness};

#[derive(Debug)]
pub(super) struct Slots {
    total: u32,
    max_waiting: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: u32,
    /// Grows with each that comes to wait and each slot that is given.
    turn: u64,
    /// Those that run or wait.
    tenants: HashMap<TenantId, Lane>,
}

/// What a tenant has and wants.
#[derive(Debug, Default)]
struct Lane {
    running: u32,
    limit: u32,
    weight: u32,
    /// The turn of the last slot that it got; 0 for none.
    served: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    turn: u64,
    /// Gives the slot, or tells by its end that there will be none.
    tell: oneshot::Sender<Slot>,
}

/// One execution's; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    /// `None`: it was never handed over.
    tenant: Option<TenantId>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many there are for this one.
    pub(super) limit: u32,
    /// They are the tenant's share, and not all there are.
    pub(super) by_tenant: bool,
    /// How many wait before one that comes now.
    pub(super) ahead: usize,
}

impl Slots {
    pub(super) fn new(total: u32, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            max_waiting,
            state: Mutex::default(),
        })
    }

    pub(super) fn running(&self, tenant: &TenantId) -> u32 {
        let state = self.state.lock();
        state.tenants.get(tenant).map_or(0, |lane| lane.running)
    }

    /// A slot for a tenant of that share, after at most `wait`.
    pub(super) async fn take(
        self: &Arc<Self>,
        tenant: &TenantId,
        share: Share,
        wait: Duration,
    ) -> Result<Slot, Taken> {
        let waiting = match self.take_now_or_queue(tenant, share, wait)? {
            Place::Slot(slot) => return Ok(slot),
            Place::Queued(waiting) => waiting,
        };
        match tokio::time::timeout(wait, waiting).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(self.taken(&self.state.lock(), tenant, share.max_concurrency)),
        }
    }

    /// The slot of an execution that runs anyway: there may be none for it, and then the next ones wait for two.
    pub(super) fn occupy(self: &Arc<Self>, tenant: &TenantId) -> Slot {
        let mut state = self.state.lock();
        state.tenants.entry(tenant.clone()).or_default();
        state.start(tenant);
        self.slot(tenant)
    }

    fn take_now_or_queue(
        self: &Arc<Self>,
        tenant: &TenantId,
        share: Share,
        wait: Duration,
    ) -> Result<Place, Taken> {
        let limit = share.max_concurrency;
        let mut state = self.state.lock();
        let lane = state.lane(tenant, share);
        let may_have_more = limit > lane.limit && !lane.queue.is_empty();
        lane.limit = limit;
        if may_have_more {
            self.hand_out(&mut state);
            // With the last of those who gave up, this tenant's lane may have gone.
            state.lane(tenant, share).limit = limit;
        }
        if state.taken < self.total && state.lane_has_room(tenant) {
            state.start(tenant);
            return Ok(Place::Slot(self.slot(tenant)));
        }
        // Of a tenant that is stopped nobody waits: that lasts until an operator says otherwise.
        if wait.is_zero() || limit == 0 || !self.has_room_to_wait(&mut state, tenant) {
            let taken = self.taken(&state, tenant, limit);
            state.forget_if_idle(tenant);
            return Err(taken);
        }
        let (tell, waiting) = oneshot::channel();
        state.turn += 1;
        let turn = state.turn;
        let lane = state.lane(tenant, share);
        lane.queue.push_back(Waiter { turn, tell });
        Ok(Place::Queued(waiting))
    }

    /// A queue that is full of one tenant's calls takes another's all the same: the longest gives up its last.
    fn has_room_to_wait(&self, state: &mut State, tenant: &TenantId) -> bool {
        state.forget_gone(tenant);
        if state.waiting() < self.max_waiting {
            return true;
        }
        let own = state.tenants.get(tenant).map_or(0, |lane| lane.queue.len());
        let longest = state.tenants.values_mut().max_by_key(|lane| lane.queue.len());
        match longest {
            Some(lane) if lane.queue.len() > own + 1 => {
                lane.queue.pop_back();
                true
            }
            _ => false,
        }
    }

    fn taken(&self, state: &State, tenant: &TenantId, limit: u32) -> Taken {
        let running = state.tenants.get(tenant).map_or(0, |lane| lane.running);
        let by_tenant = limit < self.total && running >= limit;
        Taken {
            limit: if by_tenant { limit } else { self.total },
            by_tenant,
            ahead: if by_tenant {
                state.tenants.get(tenant).map_or(0, Lane::waiting)
            } else {
                state.waiting()
            },
        }
    }

    fn slot(self: &Arc<Self>, tenant: &TenantId) -> Slot {
        Slot {
            slots: self.clone(),
            tenant: Some(tenant.clone()),
        }
    }

    fn give_back(self: &Arc<Self>, tenant: &TenantId) {
        let mut state = self.state.lock();
        state.taken = state.taken.saturating_sub(1);
        if let Some(lane) = state.tenants.get_mut(tenant) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.hand_out(&mut state);
        state.forget_if_idle(tenant);
    }

    /// Gives what is free to who waits and may.
    fn hand_out(self: &Arc<Self>, state: &mut State) {
        while state.taken < self.total {
            let Some((tenant, waiter)) = state.next() else {
                return;
            };
            state.start(&tenant);
            // Who gave up meanwhile takes nothing. What it got is not dropped here, where the lock is held.
            if let Err(mut unwanted) = waiter.tell.send(self.slot(&tenant)) {
                unwanted.tenant = None;
                state.taken = state.taken.saturating_sub(1);
                if let Some(lane) = state.tenants.get_mut(&tenant) {
                    lane.running = lane.running.saturating_sub(1);
                }
                state.forget_if_idle(&tenant);
            }
        }
    }
}

enum Place {
    Slot(Slot),
    Queued(oneshot::Receiver<Slot>),
}

impl Lane {
    /// Without those who gave up.
    fn waiting(&self) -> usize {
        self.queue
            .iter()
            .filter(|waiter| !waiter.tell.is_closed())
            .count()
    }
}

impl State {
    fn lane_has_room(&self, tenant: &TenantId) -> bool {
        self.tenants
            .get(tenant)
            .is_some_and(|lane| lane.running < lane.limit)
    }

    fn lane(&mut self, tenant: &TenantId, share: Share) -> &mut Lane {
        let lane = self.tenants.entry(tenant.clone()).or_default();
        lane.weight = share.weight;
        lane
    }

    fn start(&mut self, tenant: &TenantId) {
        self.taken += 1;
        self.turn += 1;
        if let Some(lane) = self.tenants.get_mut(tenant) {
            lane.running += 1;
            lane.served = self.turn;
        }
    }

    fn next(&mut self) -> Option<(TenantId, Waiter)> {
        let waiting = self.tenants.iter().filter_map(|(tenant, lane)| {
            let candidate = fairness::Waiting {
                running: lane.running,
                limit: lane.limit,
                weight: lane.weight,
                served: lane.served,
                front: lane.queue.front()?.turn,
            };
            Some((tenant, candidate))
        });
        let tenant = fairness::next(waiting)?.clone();
        let waiter = self.tenants.get_mut(&tenant)?.queue.pop_front()?;
        Some((tenant, waiter))
    }

    fn waiting(&self) -> usize {
        self.tenants.values().map(Lane::waiting).sum()
    }

    /// Those who gave up, and the tenants of which nobody else is left but this one.
    fn forget_gone(&mut self, but: &TenantId) {
        self.tenants.retain(|tenant, lane| {
            lane.queue.retain(|waiter| !waiter.tell.is_closed());
            tenant == but || lane.running > 0 || !lane.queue.is_empty()
        });
    }

    fn forget_if_idle(&mut self, tenant: &TenantId) {
        let idle = |lane: &Lane| lane.running == 0 && lane.queue.is_empty();
        if self.tenants.get(tenant).is_some_and(idle) {
            self.tenants.remove(tenant);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(tenant) = self.tenant.take() {
            self.slots.give_back(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn share(max_concurrency: u32) -> Share {
        Share {
            max_concurrency,
            max_calls_per_window: None,
            weight: 1,
        }
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// Begins to wait, and does so when this returns.
    async fn wait(
        slots: &Arc<Slots>,
        name: &str,
        limit: u32,
    ) -> tokio::task::JoinHandle<Result<Slot, Taken>> {
        let (slots, tenant) = (slots.clone(), tenant(name));
        #[expect(clippy::disallowed_methods, reason = "a test has no lifecycle")]
        let waiting = tokio::spawn(async move { slots.take(&tenant, share(limit), LONG).await });
        tokio::task::yield_now().await;
        waiting
    }

    async fn now(slots: &Arc<Slots>, name: &str, limit: u32) -> Result<Slot, Taken> {
        slots.take(&tenant(name), share(limit), Duration::ZERO).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_no_more_than_its_share_though_slots_are_free() {
        let slots = Slots::new(8, 10);
        let _one = now(&slots, "a", 2).await.unwrap();
        let _two = now(&slots, "a", 2).await.unwrap();
        let refused = now(&slots, "a", 2).await.unwrap_err();
        assert_eq!((refused.limit, refused.by_tenant), (2, true));
        assert!(now(&slots, "b", 2).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_slot_goes_to_the_waiting_tenant_that_has_the_fewest() {
        let slots = Slots::new(2, 10);
        let first = now(&slots, "flood", 2).await.unwrap();
        let _second = now(&slots, "flood", 2).await.unwrap();
        let flood = wait(&slots, "flood", 2).await;
        let late = wait(&slots, "late", 2).await;
        drop(first);
        assert!(late.await.unwrap().is_ok());
        assert!(flood.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_slot_goes_round_though_one_tenant_came_with_all_its_calls_first() {
        let slots = Slots::new(1, 10);
        let mut running = now(&slots, "flood", 9).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..4 {
            flood.push(wait(&slots, "flood", 9).await);
        }
        let late = [wait(&slots, "late", 9).await, wait(&slots, "late", 9).await];
        for (late, flood) in late.into_iter().zip(flood) {
            drop(running);
            running = late.await.unwrap().unwrap();
            drop(running);
            running = flood.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_anyway_takes_a_slot_from_who_comes() {
        let slots = Slots::new(2, 10);
        let occupied: Vec<_> = (0..3).map(|_| slots.occupy(&tenant("a"))).collect();
        let waits = wait(&slots, "a", 9).await;
        let mut occupied = occupied.into_iter();
        drop(occupied.next());
        assert!(now(&slots, "b", 9).await.is_err(), "as many as there are run");
        drop(occupied.next());
        assert!(waits.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_that_was_raised_lets_in_who_waits() {
        let slots = Slots::new(4, 10);
        let _one = now(&slots, "a", 1).await.unwrap();
        let waits = wait(&slots, "a", 1).await;
        let _raised = now(&slots, "a", 3).await.unwrap();
        assert!(waits.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_was_stopped_runs_again_as_soon_as_it_may() {
        let slots = Slots::new(4, 10);
        let stopped = slots.take(&tenant("a"), share(0), LONG).await.unwrap_err();
        assert!(stopped.by_tenant);
        assert!(now(&slots, "a", 1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_full_of_one_tenants_calls_takes_another_tenants() {
        let slots = Slots::new(1, 2);
        let running = now(&slots, "a", 9).await.unwrap();
        let first = wait(&slots, "a", 9).await;
        let second = wait(&slots, "a", 9).await;
        assert!(now(&slots, "a", 9).await.is_err(), "its own queue is full");
        let other = wait(&slots, "b", 9).await;
        assert!(
            second.await.unwrap().is_err(),
            "the last of the longest queue gave way"
        );
        drop(running);
        drop(other.await.unwrap().unwrap());
        assert!(first.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_takes_no_slot_and_nothing_is_left_of_it() {
        let slots = Slots::new(1, 10);
        let running = now(&slots, "a", 9).await.unwrap();
        let gone = wait(&slots, "b", 9).await;
        gone.abort();
        assert!(gone.await.is_err());
        let stays = wait(&slots, "c", 9).await;
        drop(running);
        drop(stays.await.unwrap().unwrap());
        assert!(slots.state.lock().tenants.is_empty());
        assert_eq!(slots.state.lock().taken, 0);
    }
}
