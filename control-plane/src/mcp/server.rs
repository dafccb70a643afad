//! The requests of MCP, each translated and handed on. One of these serves a legacy session or a stdio connection, or a
//! single request of the newest era.

use std::sync::{Arc, LazyLock};

use dynamic_mcp_shared::lifecycle::Lifecycle;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams,
    CompleteResult, CustomRequest, CustomResult, ErrorCode, GetPromptRequestParams, GetPromptResponse,
    Implementation, InitializeRequestParams, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig, SetLevelRequestMethod,
    SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::builtin::{self, Invocation};
use super::changes::{self, ToolChanges};
use super::feedback::Feedback;
use super::listen::{self, Waiting};
use super::logging::{self, SessionLevel};
use super::pin::Pin;
use super::{
    McpDeps, Profile, SERVICE, VERSION, completion, dynamic, http, listing, pages, prompts, refused, request,
    resources, result, rights,
};
use crate::principal::{Access, Caller, Right};

const INSTRUCTIONS: &str = "Make tools at run time: dynamic.tool.create takes JavaScript and a description, and from then on \
the tool is in tools/list and runs in a sandbox when it is called. dynamic.tool.call runs one by name when your list is not \
up to date; run_js_ephemeral runs code once without keeping it. A result says how it ended in `outcome`.";

#[derive(Clone)]
pub struct DynamicMcp {
    deps: Arc<McpDeps>,
    lifecycle: Lifecycle,
    user: Option<Access>,
    connection: Arc<Connection>,
}

/// What lasts as long as this server object.
#[derive(Default)]
struct Connection {
    level: SessionLevel,
    listeners: Waiting,
    /// Requests that run.
    running: TaskTracker,
}

impl DynamicMcp {
    /// For one session or stateless request over HTTP: each message brings along who sent it.
    pub fn new(deps: Arc<McpDeps>, lifecycle: Lifecycle) -> Self {
        Self {
            deps,
            lifecycle,
            user: None,
            connection: Arc::default(),
        }
    }

    /// For a connection on which everything comes from one user.
    pub fn of(user: Access, deps: Arc<McpDeps>, lifecycle: Lifecycle) -> Self {
        Self {
            user: Some(user),
            ..Self::new(deps, lifecycle)
        }
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When nothing says who did: that is nobody, not somebody without a name.
    pub(super) fn access<'a>(&'a self, cx: &'a RequestContext<RoleServer>) -> Result<&'a Access, ErrorData> {
        request::access(cx).or(self.user.as_ref()).ok_or_else(|| {
            tracing::error!("a request came by without anybody having looked at who sends it; it is refused");
            ErrorData::internal_error("Internal error", None)
        })
    }

    pub(super) fn deps(&self) -> &McpDeps {
        &self.deps
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    pub(super) fn waiting_listeners(&self) -> &Waiting {
        &self.connection.listeners
    }

    /// Calls that run on this connection.
    pub(super) fn running(&self) -> &TaskTracker {
        &self.connection.running
    }

    async fn call(
        &self,
        params: CallToolRequestParams,
        access: &Access,
        caller: &Caller,
        cx: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let needed = rights::of_call(self.deps.profile, &params.name, params.arguments.as_ref());
        if let Err(refusal) = request::require(access, needed) {
            refused::record(&self.deps, caller, &params.name, params.arguments.as_ref()).await;
            return Err(refusal);
        }
        let feedback = Feedback::new(cx, &self.connection.level);
        let arguments = params.arguments;
        let pin = Pin::of(&cx.meta).map_err(|wrong| ErrorData::invalid_params(wrong.to_string(), None))?;
        let invocation = Invocation {
            deps: &self.deps,
            caller,
            arguments,
            pin,
            feedback,
        };
        if let Some(builtin) = builtin::find(self.deps.profile, &params.name) {
            return Ok(builtin.call(invocation).await);
        }
        let tools = match self.deps.cache.tools(&caller.principal.tenant).await {
            Ok(tools) => tools,
            Err(error) => return Ok(dynamic::unavailable(&error)),
        };
        let tool = match dynamic::find(&tools, &params.name) {
            Some(tool) => tool,
            None => dynamic::find_anew(&self.deps.cache, &caller.principal.tenant, &params.name)
                .await
                .ok_or_else(|| unknown_tool(&params.name))?,
        };
        let answer = dynamic::call(&tool, invocation).await;
        Ok(answer
            .unwrap_or_else(|wrong| result::invalid_arguments(&wrong, dynamic::has_output_schema(&tool))))
    }

    /// What the profile `mvp` does not have is as unknown as any other method.
    fn only_in_enterprise(&self, method: &'static str) -> Result<(), ErrorData> {
        match self.deps.profile {
            Profile::Enterprise => Ok(()),
            Profile::Mvp => Err(unknown_method(method)),
        }
    }
}

/// Lets a call end by itself, but cancels it when its caller may not go on any more: a session of the older era would wait
/// for it though its stream has ended.
async fn within<T>(until: Option<Instant>, cancel: &CancellationToken, call: impl Future<Output = T>) -> T {
    let Some(until) = until else {
        return call.await;
    };
    let mut call = std::pin::pin!(call);
    match timeout_at(until, call.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            cancel.cancel();
            call.await
        }
    }
}

fn unknown_method(method: &str) -> ErrorData {
    ErrorData::new(
        ErrorCode::METHOD_NOT_FOUND,
        "Method not found",
        Some(json!({"method": method})),
    )
}

fn unknown_tool(name: &str) -> ErrorData {
    let shown: String = name.chars().take(80).collect();
    ErrorData::invalid_params(
        format!("Unknown tool: {shown:?}. tools/list shows the tools that can be called"),
        Some(json!({"name": shown})),
    )
}

fn config(profile: Profile) -> ServerConfig {
    let tools = ServerCapabilities::builder()
        .enable_tools()
        .enable_tool_list_changed();
    let capabilities = logging::add_capability(match profile {
        Profile::Enterprise => tools
            .enable_resources()
            .enable_prompts()
            .enable_completions()
            .build(),
        Profile::Mvp => tools.build(),
    });
    let title = "Dynamic MCP: tools made at run time";
    ServerConfig::new(capabilities)
        .with_server_info(Implementation::new(SERVICE, VERSION).with_title(title))
        .with_instructions(INSTRUCTIONS)
}

/// rmcp asks for it several times per request.
static CONFIGS: LazyLock<[ServerConfig; 2]> =
    LazyLock::new(|| [config(Profile::Enterprise), config(Profile::Mvp)]);

impl ServerHandler for DynamicMcp {
    fn get_info(&self) -> ServerConfig {
        let [enterprise, mvp] = &*CONFIGS;
        match self.deps.profile {
            Profile::Enterprise => enterprise.clone(),
            Profile::Mvp => mvp.clone(),
        }
    }

    /// Watches for changes from here on: `initialized` may come to another replica.
    async fn initialize(
        &self,
        params: InitializeRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let tenant = self.access(&cx)?.principal.tenant.clone();
        let answer = self.negotiate_initialize(&params)?;
        cx.peer.set_peer_info(params);
        let changes = ToolChanges::new(self.deps.cache.subscribe(), tenant);
        changes::tell_connection(changes, self.deps.cache.clone(), cx.peer, &self.lifecycle);
        Ok(answer)
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        cx: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let access = self.access(&cx)?;
        request::require(access, Right::Call)?;
        let after = pages::after(params.as_ref())?;
        let tools = self.deps.cache.tools(&access.principal.tenant).await;
        let tools = tools.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(listing::page(self.deps.profile, &tools, after.as_ref()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _running = self.connection.running.token();
        let span = request::span("tools/call", &params.name, &cx);
        let access = self.access(&cx)?;
        let caller = request::caller(access, request::id(&cx), cx.ct.child_token());
        let call = Box::pin(self.call(params, access, &caller, &cx).instrument(span));
        let ended = within(access.until, &caller.cancel, call).await;
        Ok(ended?.into())
    }

    /// For the check of `Mcp-Param-*` headers, which a tool's schema may ask for.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        http::called_tool(name)
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        cx: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.only_in_enterprise("resources/list")?;
        let caller = request::caller(self.access(&cx)?, request::id(&cx), cx.ct.child_token());
        resources::list(&self.deps, &caller, params.as_ref()).await
    }

    async fn list_resource_templates(
        &self,
        params: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.only_in_enterprise("resources/templates/list")?;
        pages::only_page(params.as_ref())?;
        Ok(
            ListResourceTemplatesResult::with_all_items(vec![resources::template()])
                .with_ttl_ms(resources::FIXED_LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private),
        )
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.only_in_enterprise("resources/read")?;
        let access = self.access(&cx)?;
        request::require(access, rights::of_resource(&params.uri))?;
        let _running = self.connection.running.token();
        let caller = request::caller(access, request::id(&cx), cx.ct.child_token());
        Ok(resources::read(&self.deps, &caller, &params.uri).await?.into())
    }

    async fn list_prompts(
        &self,
        params: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.only_in_enterprise("prompts/list")?;
        pages::only_page(params.as_ref())?;
        Ok(prompts::list())
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        _cx: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.only_in_enterprise("prompts/get")?;
        Ok(prompts::get(&params)?.into())
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.only_in_enterprise("completion/complete")?;
        let access = self.access(&cx)?;
        request::require(access, Right::Call)?;
        Ok(completion::complete(&self.deps, &access.principal.tenant, &params).await)
    }

    #[expect(deprecated, reason = "deprecated by the newest era, used by those before it")]
    async fn set_level(
        &self,
        params: rmcp::model::SetLevelRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !request::is_legacy(&cx) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        self.connection.level.set(&params);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.connection.listeners.add(self.deps.cache.subscribe());
        Some(listen::accepted(requested))
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        listen::listen(self, subscription).await
    }

    /// Where rmcp sends what it has no type for: unknown methods, and known ones with parameters of another shape.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        cx: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if request::is_known_method(&request.method, request::is_legacy(&cx)) {
            let text = format!(
                "the parameters of {} are missing or of the wrong shape",
                request.method
            );
            return Err(ErrorData::invalid_params(text, None));
        }
        Err(unknown_method(&request.method))
    }
}
