-- Moves a sweep to another phase; one that is there already stays as it is.
-- KEYS: sweep, unfinished sweeps   ARGV: id, to, is it final (1 or 0), then the phases it may come from
local sweep, unfinished = unpack(KEYS)
local id, to, final = ARGV[1], ARGV[2], ARGV[3] == '1'

local phase = redis.call('HGET', sweep, 'phase')
if not phase then
  return refuse('not_found', 'no such sweep: ' .. id)
end
if phase == to then
  return done(sweep)
end
for i = 4, #ARGV do
  if ARGV[i] == phase then
    redis.call('HSET', sweep, 'phase', to)
    if final then
      redis.call('HSET', sweep, 'finished_at_ms', number_text(now_ms()))
      redis.call('ZREM', unfinished, id)
    end
    return done(sweep)
  end
end
return refuse('conflict', 'a sweep that is ' .. phase .. ' cannot be ' .. to .. ': ' .. id)
