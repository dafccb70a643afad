//! What `import` finds: the prelude decides (`js/modules.js`), this hands its answer to the engine.

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Function, Module, Object, Persistent, Runtime, Value};

#[derive(Clone)]
struct Prelude(Persistent<Object<'static>>);

pub(crate) fn install(runtime: &Runtime, internal: &Persistent<Object<'static>>) {
    runtime.set_loader(Prelude(internal.clone()), Prelude(internal.clone()));
}

impl Resolver for Prelude {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        _base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        let resolve: Function<'js> = self.0.clone().restore(ctx)?.get("resolve")?;
        resolve.call((name,))
    }
}

impl Loader for Prelude {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        let internal = self.0.clone().restore(ctx)?;
        let source: Function<'js> = internal.get("moduleSource")?;
        let module = Module::declare(ctx.clone(), name, source.call::<_, String>((name,))?)?;
        let modules: Object<'js> = internal.get("modules")?;
        let bare = name.strip_prefix("node:").unwrap_or(name);
        module
            .meta()?
            .set("exports", modules.get::<_, Value<'js>>(bare)?)?;
        Ok(module)
    }
}
