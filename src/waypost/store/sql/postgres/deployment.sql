-- Queries for the deployment that only PostgreSQL can run.

-- name: time_of_database()
-- Returns the time of the database's clock, in seconds since the epoch. Only PostgreSQL may be on another machine, with
-- another clock. Unlike now(), clock_timestamp() is not the time at which the transaction began.
SELECT extract(epoch FROM clock_timestamp())::double precision;
