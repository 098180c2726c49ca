-- Stores a new sweep.
-- KEYS: sweep, ages, sweeps of the owner, unfinished sweeps   ARGV: id, owner, plan, trials, request
local sweep, ages, of_owner, unfinished = unpack(KEYS)
local id, owner, plan, trials, request = unpack(ARGV)

if redis.call('EXISTS', sweep) == 1 then
  return refuse('conflict', 'there is a sweep of that id: ' .. id)
end
local number = redis.call('INCR', ages)
redis.call('HSET', sweep, 'id', id, 'owner', owner, 'phase', 'running', 'created_at_ms', number_text(now_ms()),
           'plan', plan, 'trials', trials, 'request', request)
redis.call('ZADD', of_owner, number, id)
redis.call('ZADD', unfinished, number, id)
return done(sweep)
