-- name: save
INSERT INTO city_clock (origin_wall, origin_city, pace)
VALUES (%(origin_wall)s, %(origin_city)s, %(pace)s)
ON CONFLICT (single) DO UPDATE
SET origin_wall = excluded.origin_wall, origin_city = excluded.origin_city, pace = excluded.pace;

-- name: load
SELECT origin_wall, origin_city, pace FROM city_clock;

-- name: beat
INSERT INTO city_beat (city_now) VALUES (%(city_now)s)
ON CONFLICT (single) DO UPDATE SET city_now = excluded.city_now;

-- name: last_beat
SELECT city_now FROM city_beat;
