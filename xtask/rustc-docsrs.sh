#!/bin/sh
# A RUSTC_WRAPPER: compiles pgrx-pg-sys with the bindings it carries, everything else as it is.
case " $* " in
*" --crate-name pgrx_pg_sys "*) exec "$@" --cfg docsrs ;;
*) exec "$@" ;;
esac
