-- After prelude.lua, for the scripts that ask a hash for one field at a time.

local function field(job, name)
  return redis.call('HGET', job, name) or ''
end

local function append_event(job, events, level, kind, message, data, created_at_ms)
  add_event(events, redis.call('HINCRBY', job, 'events', 1), level, kind, message, data, created_at_ms)
end

local function queue_member(job, id)
  return member_of(field(job, 'sequence'), id)
end
local function enqueue(job, id, queued, now)
  redis.call('HSET', job, 'queued_at_ms', now)
  redis.call('ZADD', queued, number_text(-tonumber(field(job, 'priority'))), queue_member(job, id))
  note_requeued(id)
end
local function dequeue(job, id, queued)
  redis.call('ZREM', queued, queue_member(job, id))
end

local function called_before(job, call)
  return has_call(field(job, 'calls'), call)
end
local function remember_call(job, call)
  redis.call('HSET', job, 'calls', calls_with(field(job, 'calls'), call))
end

local function done(job)
  return {'ok', redis.call('HGETALL', job)}
end
local function ended_already(id, phase)
  return refuse('conflict', 'the job has ended already (' .. phase .. '): ' .. id)
end
