-- Stores a new job with its first event, unless the owner's idempotency key made one already.
-- KEYS: job, events, created of the owner, idempotency, group
-- ARGV: call, id, owner, phase, priority, message, idempotency window in ms (0: no key), group, then pairs of field
--       and value
-- Answers the time, and the whole job when an earlier call made it.
local job, events, created_of_owner, idempotency, group_index = unpack(KEYS)
local sequence, created, queued = 'tf:sequence', 'tf:created', 'tf:queued'
local call, id, owner, phase, priority, message, window, group = unpack(ARGV)

if window ~= '0' then
  local earlier = redis.call('GET', idempotency)
  if earlier then
    return {'ok', redis.call('HGETALL', 'tf:{' .. earlier .. '}:job')}
  end
end
if redis.call('EXISTS', job) == 1 then
  if has_call(redis.call('HGET', job, 'calls'), call) then
    return {'ok', redis.call('HGETALL', job)}
  end
  return refuse('conflict', 'there is a job of that id: ' .. id)
end

local now = number_text(now_ms())
local number = number_text(redis.call('INCR', sequence))
-- First what every step reads: a small hash is searched from its beginning.
redis.call('HSET', job, 'phase', phase, 'attempt', '0', 'stop', 'none', 'calls', ' ' .. call, 'workers', '1',
           'sequence', number, 'priority', priority, 'events', '1', 'id', id, 'owner', owner, 'group', group,
           'created_at_ms', now, 'queued_at_ms', phase == 'queued' and now or '', unpack(ARGV, 9))
redis.call('ZADD', created, number, id)
redis.call('ZADD', created_of_owner, number, id)
if group ~= '' then
  redis.call('ZADD', group_index, number, id)
end
if phase == 'queued' then
  redis.call('ZADD', queued, number_text(-tonumber(priority)), member_of(number, id))
end
add_event(events, '1', 'info', 'message', message, '', now)
if window ~= '0' then
  redis.call('SET', idempotency, id, 'PX', window)
end
return {'ok', {'created_at_ms', now}}  -- The rest is what the caller gave.
