-- name: packed
SELECT string_agg({packed}, ''::bytea) FROM ({query}) AS row ({columns}) GROUP BY series_id;
