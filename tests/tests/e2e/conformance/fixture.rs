//! The server that the suite is written for, with everything that its scenarios of the older era ask for, on the product's
//! own transport and sessions: what it is found to lack, they lack.
#![expect(
    deprecated,
    reason = "what the newest era deprecates, the suite asks of those before it"
)]

mod served;

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ElicitRequest, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
    LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResultType, ServerCapabilities,
    ServerConfig, ServerRequest, SetLevelRequestParams, SubscribeRequestParams, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::served::Served;

/// One red pixel, and a hundredth of a second of silence.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA==";
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Fixture;

type Context = RequestContext<RoleServer>;

/// What JSON says, as a type of the protocol.
fn of<T: DeserializeOwned>(json: Value) -> Result<T, ErrorData> {
    serde_json::from_value(json).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn text(text: impl Into<String>) -> Value {
    json!([{"type": "text", "text": text.into()}])
}

fn no_such(what: &str, name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("there is no {what} {name}"), None)
}

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

impl Fixture {
    async fn run(&self, name: &str, arguments: &Value, cx: &Context) -> Result<Value, ErrorData> {
        let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        let resource = |uri: &str, kind: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}});
        Ok(match name {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => json!([image]),
            "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
            "test_embedded_resource" => json!([resource(
                "test://embedded-resource",
                "text/plain",
                "This is an embedded resource content."
            )]),
            "test_multiple_content_types" => json!([
                {"type": "text", "text": "Multiple content types test:"},
                image,
                resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
            ]),
            "json_schema_2020_12_tool" | "test_custom_headers" => text(arguments.to_string()),
            "test_tool_with_logging" => self.log(cx).await?,
            "test_tool_with_progress" => self.progress(cx).await?,
            "test_sampling" => self.sample(arguments, cx).await?,
            "test_elicitation" | "test_elicitation_sep1034_defaults" | "test_elicitation_sep1330_enums" => {
                self.elicit(name, arguments, cx).await?
            }
            _ => return Err(no_such("tool", name)),
        })
    }

    async fn log(&self, cx: &Context) -> Result<Value, ErrorData> {
        for line in [
            "Tool execution started",
            "Tool processing data",
            "Tool execution completed",
        ] {
            let param = LoggingMessageNotificationParam::new(LoggingLevel::Info, line.into());
            cx.peer.notify_logging_message(param).await.map_err(failed)?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(text("logged"))
    }

    async fn progress(&self, cx: &Context) -> Result<Value, ErrorData> {
        for done in [0.0, 50.0, 100.0] {
            if let Some(token) = cx.meta.get_progress_token() {
                let param = ProgressNotificationParam::new(token, done).with_total(100.0);
                cx.peer.notify_progress(param).await.map_err(failed)?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(text("done"))
    }

    async fn sample(&self, arguments: &Value, cx: &Context) -> Result<Value, ErrorData> {
        let message = json!({"role": "user", "content": {"type": "text", "text": arguments["prompt"]}});
        let params = of(json!({"messages": [message], "maxTokens": 100}))?;
        let answer = cx.peer.create_message(params).await.map_err(failed)?;
        let answer = serde_json::to_value(answer).map_err(failed)?;
        let said = answer["content"]["text"].as_str().unwrap_or_default();
        Ok(text(format!("LLM response: {said}")))
    }

    async fn elicit(&self, name: &str, arguments: &Value, cx: &Context) -> Result<Value, ErrorData> {
        let schema = match name {
            "test_elicitation_sep1034_defaults" => json!({"type": "object", "properties": {
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true},
            }}),
            "test_elicitation_sep1330_enums" => json!({"type": "object", "properties": {
                "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
                "titledSingle": {"type": "string", "oneOf": [
                    {"const": "value1", "title": "First Option"},
                    {"const": "value2", "title": "Second Option"},
                    {"const": "value3", "title": "Third Option"},
                ]},
                "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"]},
                "untitledMulti": {"type": "array", "items": {"type": "string",
                    "enum": ["option1", "option2", "option3"]}},
                "titledMulti": {"type": "array", "items": {"anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]}},
            }}),
            _ => json!({"type": "object", "required": ["username", "email"], "properties": {
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            }}),
        };
        let message = arguments["message"].as_str().unwrap_or("Please say.");
        let params = of(json!({"mode": "form", "message": message, "requestedSchema": schema}))?;
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
        let answer = cx.peer.send_request(request).await.map_err(failed)?;
        let answer = serde_json::to_value(answer).map_err(failed)?;
        let (action, content) = (answer["action"].as_str().unwrap_or_default(), &answer["content"]);
        Ok(text(format!(
            "Elicitation completed: action={action}, content={content}"
        )))
    }
}

fn tools() -> Value {
    let names = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_tool_with_progress",
        "test_error_handling",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
    ];
    let tool = |name: &str, schema: Value| json!({"name": name, "description": format!("The suite's {name}"), "inputSchema": schema});
    let mut tools: Vec<_> = names
        .iter()
        .map(|name| tool(name, json!({"type": "object", "properties": {}})))
        .collect();
    let string =
        |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    tools.push(tool("test_sampling", string("prompt")));
    tools.push(tool("test_elicitation", string("message")));
    tools.push(tool("json_schema_2020_12_tool", super::fixtures::json_schema()));
    let region = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
    tools.push(tool(
        "test_custom_headers",
        json!({"type": "object", "properties": region}),
    ));
    Value::from(tools)
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .build();
        capabilities.logging = Some(rmcp::model::JsonObject::new());
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        _params: Option<PaginatedRequestParams>,
        _cx: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        of(json!({"tools": tools(), "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tools: Vec<Tool> = of(tools()).ok()?;
        tools.into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        cx: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        let answer = if params.name == "test_error_handling" {
            json!({"content": text("This tool intentionally returns an error for testing"), "isError": true})
        } else {
            json!({"content": self.run(&params.name, &arguments, &cx).await?})
        };
        let mut result: CallToolResult = of(answer)?;
        result.result_type.get_or_insert(ResultType::COMPLETE);
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _params: Option<PaginatedRequestParams>,
        _cx: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource = |uri: &str, kind: &str| json!({"uri": uri, "name": uri, "description": "The suite's", "mimeType": kind});
        let resources = json!([
            resource("test://static-text", "text/plain"),
            resource("test://static-binary", "image/png"),
            resource("test://watched-resource", "text/plain"),
        ]);
        of(json!({"resources": resources, "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}))
    }

    async fn list_resource_templates(
        &self,
        _params: Option<PaginatedRequestParams>,
        _cx: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!({"uriTemplate": "test://template/{id}/data", "name": "template",
            "description": "The suite's", "mimeType": "application/json"});
        of(
            json!({"resourceTemplates": [template], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}),
        )
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        _cx: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = params.uri;
        let templated = uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let content = match (uri.as_str(), templated) {
            ("test://static-binary", _) => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
            ("test://static-text" | "test://watched-resource", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            (_, Some(id)) => {
                let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            _ => {
                return Err(ErrorData::resource_not_found(
                    "Resource not found",
                    Some(json!({"uri": uri})),
                ));
            }
        };
        let answer =
            json!({"contents": [content], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
        let result: ReadResourceResult = of(answer)?;
        Ok(result.into())
    }

    async fn subscribe(&self, _params: SubscribeRequestParams, _cx: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _params: UnsubscribeRequestParams, _cx: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_prompts(
        &self,
        _params: Option<PaginatedRequestParams>,
        _cx: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompt = |name: &str, arguments: &[&str]| {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|name| json!({"name": name, "description": "The suite's", "required": true}))
                .collect();
            json!({"name": name, "description": format!("The suite's {name}"), "arguments": arguments})
        };
        let prompts = json!([
            prompt("test_simple_prompt", &[]),
            prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
            prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
            prompt("test_prompt_with_image", &[]),
        ]);
        of(json!({"prompts": prompts, "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}))
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        _cx: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        let say = |text: String| json!({"role": "user", "content": {"type": "text", "text": text}});
        let messages = match params.name.as_str() {
            "test_simple_prompt" => json!([say("This is a simple prompt for testing.".to_owned())]),
            "test_prompt_with_arguments" => json!([say(format!(
                "Prompt with arguments: arg1={}, arg2={}",
                arguments["arg1"], arguments["arg2"]
            ))]),
            "test_prompt_with_embedded_resource" => json!([
                {"role": "user", "content": {"type": "resource", "resource": {"uri": arguments["resourceUri"],
                    "mimeType": "text/plain", "text": "Embedded resource content for testing."}}},
                say("Please process the embedded resource above.".to_owned()),
            ]),
            "test_prompt_with_image" => json!([
                {"role": "user", "content": {"type": "image", "data": PNG, "mimeType": "image/png"}},
                say("Please analyze the image above.".to_owned()),
            ]),
            name => return Err(no_such("prompt", name)),
        };
        let result: GetPromptResult = of(json!({"messages": messages, "resultType": "complete"}))?;
        Ok(result.into())
    }

    async fn complete(
        &self,
        _params: CompleteRequestParams,
        _cx: Context,
    ) -> Result<CompleteResult, ErrorData> {
        of(
            json!({"completion": {"values": ["test"], "total": 1, "hasMore": false}, "resultType": "complete"}),
        )
    }

    async fn set_level(&self, _params: SetLevelRequestParams, _cx: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}
