-- name: even_label
date_bin({step}, {ts}, {origin})

-- name: even_until
{label} + {step}

-- name: natural_label
({edges}::timestamptz[])[width_bucket({ts}, {edges}::timestamptz[])]

-- name: natural_until
({edges}::timestamptz[])[width_bucket({label}, {edges}::timestamptz[]) + 1]
