-- Stores a new job with its first event, unless the owner's idempotency key made one already.
-- KEYS: job, events, created of the owner, idempotency, group ('': none)
-- ARGV: call, id, phase, priority, workers, what else was given of it, event, idempotency window in ms (0: no key)
-- Answers the time, and the whole job when an earlier call made it.
local job, events, created_of_owner, idempotency, group_index = unpack(KEYS)
local ages, created, queued = 'tf:ages', 'tf:created', 'tf:queued'
local call, id, phase, priority, workers, given, event, window = unpack(ARGV)

if window ~= '0' then
  local earlier = redis.call('GET', idempotency)
  if earlier then
    return done('tf:{' .. earlier .. '}:job')
  end
end
local before = read_state(job)
if before then
  if has_call(before, call) then
    return done(job)
  end
  return refuse('conflict', 'there is a job of that id: ' .. id)
end

local now = number_text(now_ms())
local sequence = number_text(redis.call('INCR', ages))
local state = {phase = phase, attempt = '0', stop = 'none', workers = workers, sequence = sequence,
               priority = priority, created_at_ms = now, queued_at_ms = phase == 'queued' and now or '0',
               started_at_ms = '0', finished_at_ms = '0', device_ms = '0', placement = '', calls = ' ' .. call}
write_state(job, state, 'given', given)
redis.call('ZADD', created, sequence, id)
redis.call('ZADD', created_of_owner, sequence, id)
if group_index ~= '' then
  redis.call('ZADD', group_index, sequence, id)
end
if phase == 'queued' then
  add_queued(queued, state, id)
end
add_event(events, event, now)
if window ~= '0' then
  redis.call('SET', idempotency, id, 'PX', window)
end
return {'ok', {'created_at_ms', now}}  -- The rest is what the caller gave.
