-- What tells this server from any other, by whatever address it was reached.
SELECT @@server_uuid
