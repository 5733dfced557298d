//! The API's description: the router's own paths, with what holds for all of them.

use std::borrow::Cow;

use serde_json::json;
use utoipa::{
    PartialSchema, ToResponse, ToSchema,
    openapi::{
        ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
        Schema,
        schema::{ComponentsBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type},
        tag::TagBuilder,
    },
};

use super::problem::{Slug, TYPE_PREFIX};

/// The response of everything that goes wrong.
pub struct AnyProblem;

impl<'r> ToResponse<'r> for AnyProblem {
    fn response() -> (&'r str, RefOr<Response>) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description("what went wrong, with which, and what to do (RFC 9457)")
            .content("application/problem+json", content);
        ("Problem", response.build().into())
    }
}

/// The response of everything that goes wrong where the Open Inference Protocol says how.
pub struct AnyFailure;

impl<'r> ToResponse<'r> for AnyFailure {
    fn response() -> (&'r str, RefOr<Response>) {
        let error = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
        let object = ObjectBuilder::new().property("error", error).required("error");
        let response = ResponseBuilder::new()
            .description("what went wrong and what to do; what the hub's own bounds refuse is a problem document")
            .content("application/json", ContentBuilder::new().schema(Some(object)).build());
        ("Failure", response.build().into())
    }
}

/// The schema of a problem document.
pub struct ProblemDocument;

impl PartialSchema for ProblemDocument {
    fn schema() -> RefOr<Schema> {
        let text =
            |doc: &'static str| ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).description(Some(doc));
        let types = Slug::ALL.iter().map(|slug| format!("{TYPE_PREFIX}{}", slug.text()));
        let object = ObjectBuilder::new()
            .description(Some("A problem document of RFC 9457; it may carry further members"))
            .property("type", text("stable: programs branch on it; more may be added").enum_values(Some(types)))
            .required("type")
            .property("title", text("the same for every problem of the type"))
            .required("title")
            .property(
                "status",
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::Integer))
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
                    .description(Some("the HTTP status")),
            )
            .required("status")
            .property("detail", text("what went wrong, with which, and what to do, for people"))
            .required("detail")
            .examples([json!({
                "type": format!("{TYPE_PREFIX}{}", Slug::BadQuery.text()),
                "title": Slug::BadQuery.title(),
                "status": Slug::BadQuery.status().as_u16(),
                "detail": "limit: 5000 rows are not a page: use 1 to 1000, and next_cursor for more",
            })]);
        Schema::from(object.build()).into()
    }
}

impl ToSchema for ProblemDocument {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }
}

/// What holds for the whole API; the paths are added by the router.
pub fn base() -> OpenApi {
    let (name, problem) = AnyProblem::response();
    let (failure_name, failure) = AnyFailure::response();
    let licence = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let tag = |name: &str, doc: &str| TagBuilder::new().name(name).description(Some(doc)).build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Sightline hub")
                .version("v1")
                .description(Some("What the cameras see now, what the lake holds, and pictures from any source."))
                .license(Some(licence)),
        )
        .tags(Some([
            tag("present", "What the hub has heard since its start"),
            tag("history", "What the lake holds"),
            tag("samples", "Kept pictures, and what the model saw of them"),
            tag("frames", "Pictures from any source"),
            tag(
                "inference",
                "Models asked by the Open Inference Protocol v2; errors have its form, `{\"error\": ...}`",
            ),
            tag("about", "The hub itself"),
        ]))
        .components(Some(
            ComponentsBuilder::new()
                .schema("Problem", ProblemDocument::schema())
                .response(name, problem)
                .response(failure_name, failure)
                .build(),
        ))
        .build()
}
