#!/bin/sh
# Temporal's own schemas in the databases of docker-compose.yml. Databases that have them stay as they are.
# Where: SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD, as temporal-sql-tool reads them.
set -eu

database() {
    echo "schema: $1"
    temporal-sql-tool --database "$1" create-database
    # A database with a schema version is not set up again.
    if ! temporal-sql-tool --database "$1" update-schema --schema-name "$2" 2>/dev/null; then
        temporal-sql-tool --database "$1" setup-schema --version 0.0
        temporal-sql-tool --database "$1" update-schema --schema-name "$2"
    fi
}

database temporal postgresql/v12/temporal
database temporal_visibility postgresql/v12/visibility
database temporal_visibility_next postgresql/v12/visibility
