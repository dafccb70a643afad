//! `system.audit.query`'s use case, over the files and over the database.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use dynamic_mcp_control_plane::audit::{Cursor, Filter, Page, Trail, TrailError};
use dynamic_mcp_control_plane::auth::AdminGate;
use dynamic_mcp_control_plane::principal::{Caller, Right};

use crate::rig::{Rig, act, begin, caller};
use crate::stores::{Store, with_postgres};

fn of(tenant: &str) -> Filter {
    Filter {
        tenant: tenant.to_owned(),
        ..Filter::default()
    }
}

fn targets(page: &Page) -> Vec<&str> {
    page.entries
        .iter()
        .filter_map(|entry| entry.target.as_deref())
        .collect()
}

struct Asked<'a>(&'a Trail, Caller);

impl Asked<'_> {
    async fn for_page(&self, filter: &Filter, limit: usize, after: Option<Cursor>) -> Page {
        let Self(trail, operator) = self;
        trail
            .query(operator, None, filter.clone(), limit, after)
            .await
            .unwrap()
    }

    async fn for_targets(&self, filter: Filter) -> Vec<String> {
        let page = self.for_page(&filter, 100, None).await;
        targets(&page).into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_found_newest_first_by_filters_and_pages_in_either_store() {
    with_postgres(async |store: Arc<Store>| {
        let mut rig = Rig::new(&store).await;
        // Over several files.
        rig.config.max_file_bytes = 10_000;
        rig.config.max_files = 50;
        let server = rig.server().await;
        let start: DateTime<Utc> = dynamic_mcp_shared::clock::Clock::now(&*rig.store.clock);
        for number in 0..40 {
            let tenant = if number % 4 == 0 { "rival" } else { "acme" };
            act(&server.audit, tenant, &format!("tool-{number:02}")).await;
            rig.store.clock.advance(chrono::Duration::seconds(1));
        }
        let open = begin(&server.audit, "acme", "tool-open").await.unwrap();
        rig.eventually_stored(81).await;
        assert!(rig.files().len() > 2);

        for database in [None, Some(rig.database())] {
            let trail = Trail::new(server.audit.clone(), database, AdminGate::default());
            // Its questions are entries of its own tenant.
            let asked = Asked(&trail, caller("operators"));
            let mut seen: Vec<String> = Vec::new();
            let mut cursor = None;
            let mut pages = 0;
            loop {
                let page = asked.for_page(&of("acme"), 7, cursor).await;
                assert!(page.entries.len() <= 7);
                seen.extend(targets(&page).into_iter().map(str::to_owned));
                pages += 1;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let mut expected: Vec<String> = (0..40)
                .filter(|number| number % 4 != 0)
                .map(|number| format!("tool-{number:02}"))
                .collect();
            expected.push("tool-open".to_owned());
            expected.reverse();
            assert_eq!(seen, expected);
            assert_eq!(pages, 5);

            let page = asked.for_page(&of("acme"), 2, None).await;
            let (open, closed) = (&page.entries[0], &page.entries[1]);
            assert_eq!((open.state, &open.verdict), ("open", &None));
            assert_eq!(
                (closed.state, closed.verdict.as_deref(), closed.outcome.as_deref()),
                ("closed", Some("ran"), Some("ok"))
            );
            assert_eq!((closed.revision, closed.duration_ms), (Some(3), Some(1.234)));
            assert_eq!(closed.subject.as_deref(), Some("ann@acme"));

            let target = Some("tool-08".to_owned());
            assert_eq!(
                asked
                    .for_targets(Filter {
                        target,
                        ..of("rival")
                    })
                    .await,
                ["tool-08"]
            );
            let subject = Some("eve".to_owned());
            assert_eq!(
                asked
                    .for_targets(Filter {
                        subject,
                        ..of("acme")
                    })
                    .await,
                [""; 0]
            );
            let outcome = Some("threw".to_owned());
            assert_eq!(
                asked
                    .for_targets(Filter {
                        outcome,
                        ..of("acme")
                    })
                    .await,
                [""; 0]
            );
            let verdict = Some("ran".to_owned());
            assert_eq!(
                asked
                    .for_targets(Filter {
                        verdict,
                        ..of("acme")
                    })
                    .await
                    .len(),
                30
            );
            let between = Filter {
                since: Some(start + chrono::Duration::seconds(5)),
                until: Some(start + chrono::Duration::seconds(8)),
                ..of("acme")
            };
            assert_eq!(
                asked.for_targets(between).await,
                ["tool-07", "tool-06", "tool-05"]
            );
            assert_eq!(asked.for_targets(of("nobody")).await, [""; 0]);
        }
        drop(open);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_an_entry_and_one_without_the_right_is_refused() {
    with_postgres(async |store: Arc<Store>| {
        let rig = Rig::new(&store).await;
        let audit = rig.audit();
        let trail = Trail::new(audit.clone(), None, AdminGate::new(Some("the-token".into())));
        let mut user = caller("acme");
        user.rights = [Right::Call, Right::Write].into_iter().collect();
        let refused = trail.query(&user, Some("the-token"), of("acme"), 10, None).await;
        assert!(matches!(refused, Err(TrailError::Forbidden(_))));
        let refused = trail.query(&caller("acme"), None, of("acme"), 10, None).await;
        assert!(matches!(refused, Err(TrailError::Forbidden(_))));
        let page = trail
            .query(&caller("acme"), Some("the-token"), of("acme"), 10, None)
            .await
            .unwrap();
        let came: Vec<_> = page
            .entries
            .iter()
            .map(|entry| (entry.state, entry.verdict.as_deref()))
            .collect();
        assert_eq!(
            came,
            [
                ("open", None),
                ("closed", Some("refused")),
                ("closed", Some("refused"))
            ]
        );
    })
    .await;
}
